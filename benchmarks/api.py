"""Delete flow runs through the API of a real server: paced, without pauses, and one by one."""

from __future__ import annotations

import argparse
import statistics
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from prefect_maintenance.events import Event, Events, Progress, TableDone
from prefect_maintenance.execute import api_pace
from prefect_maintenance.execute.api_pace import ApiPace
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS

from lab import end_orderly
from lab.postgres import Postgres
from lab.server import PrefectServer, migrate

from .backlog import Size, fill
from .goals import Goal, times_faster, times_of
from .goals import table as goals_table
from .measure import Trial, machine, ratio, table
from .purge import SERVER
from .reader import reader

IDLE, ONE, UNPACED, PACED = "idle server", "one DELETE a run", "without pauses", "project"
RUN, P50, P95 = "ms a run", "read p50 ms", "read p95 ms"
# Seconds of a measurement of the idle server, and between two looks for its tasks.
_LOOK, _POLL = 4.0, 0.1
_LOGS_OF = "SELECT EXISTS (SELECT FROM log WHERE flow_run_id = %s)"
# What each contender deletes in one trial.
_RUNS = {ONE: 200, UNPACED: 1500, PACED: 600}
# At most so many times the idle server's p95, at least so many times the runs of one by one.
_SLOWER, _FASTER = 3.0, 8.0


@dataclass
class _Watch:
    """Reads from the server from the first call that deleted runs until the last."""

    api_url: str
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    _reading: ExitStack = field(default_factory=ExitStack)
    _begun: bool = False
    _starting: float = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, TableDone) and event.table == "flow_run":
            self._reading.close()
            self.seconds = event.seconds - self._starting
        if isinstance(event, Progress) and event.unit == "rows" and not self._begun:
            self._begun, began = True, time.monotonic()
            self.latencies = self._reading.enter_context(reader(self.api_url))
            self._starting = time.monotonic() - began


@dataclass(frozen=True)
class _Stage:
    cluster: Postgres
    server: PrefectServer

    def trial(self, contender: str) -> Trial:
        """Let a contender delete its share of the oldest runs, with a reader beside it."""
        self._await_tasks()
        ways: dict[str, Callable[[], tuple[float, list[float]]]] = {
            IDLE: self._idle,
            ONE: self._one_by_one,
            UNPACED: self._unpaced,
            PACED: lambda: self._project(_RUNS[PACED]),
        }
        seconds, latencies = ways[contender]()
        figures = {RUN: 1000 * seconds / _RUNS[contender]} if contender in _RUNS else {}
        cuts = statistics.quantiles(latencies, n=20)
        return Trial(contender, {**figures, P50: cuts[9], P95: cuts[-1]})

    def _idle(self) -> tuple[float, list[float]]:
        with reader(self.server.api_url) as latencies:
            time.sleep(_LOOK)
        return _LOOK, latencies

    def _one_by_one(self) -> tuple[float, list[float]]:
        oldest = self._oldest(_RUNS[ONE])
        with reader(self.server.api_url) as latencies:
            began = time.monotonic()
            for run_id in oldest:
                self._delete(run_id)
            seconds = time.monotonic() - began
        return seconds, latencies

    def _oldest(self, runs: int) -> list[str]:
        sql = "SELECT id FROM flow_run ORDER BY end_time LIMIT %s"
        return [run for (run,) in self.cluster.execute(sql, "served", [runs])]

    def _delete(self, run: str) -> None:
        path = f"{self.server.api_url}/flow_runs/{run}"
        with urllib.request.urlopen(urllib.request.Request(path, method="DELETE")):
            pass

    def _await_tasks(self) -> None:
        """Wait until the server has carried out the tasks that the trial before left.

        It deletes the logs of each deleted run by a task, some forty a second, in turn: once those
        of one more run are gone, so are the others.
        """
        (run,) = self._oldest(1)
        self._delete(run)
        while self.cluster.execute(_LOGS_OF, "served", [run])[0][0]:
            time.sleep(_POLL)

    def _unpaced(self) -> tuple[float, list[float]]:
        # Nobody looks at the server between two calls, and the first is as large as any.
        with (
            patch.object(api_pace, "SLOWER", 1e9),
            patch.object(api_pace, "FIRST", 50),
            patch.object(ApiPace, "__call__", lambda _pace, _moment: None),
        ):
            return self._project(_RUNS[UNPACED])

    def _project(self, runs: int) -> tuple[float, list[float]]:
        cutoff = self.cluster.execute(
            "SELECT end_time FROM flow_run ORDER BY end_time OFFSET %s LIMIT 1", "served", [runs]
        )[0][0]
        days = {"task_runs": 9999, "artifacts": 9999, "logs": 9999, "events": 9999}
        asked = {
            "db_url": self.server.db_url,
            "api_url": self.server.api_url,
            "run_delete_via": "api",
            "batch_size": 50,
            "retention": {**days, "flow_runs": 1},
            "reference_time": (cutoff + timedelta(days=1)).isoformat(),
        }
        watch = _Watch(self.server.api_url)
        outcome = STEPS["delete"](Settings.parse(asked, check=False), Pace(Events(watch)))
        assert outcome.error is None, outcome.error
        assert outcome.report.delete_via["way"] == "api", outcome.report.delete_via
        assert outcome.report.deleted["flow_run"] == runs
        return watch.seconds, watch.latencies


def run(runs: int, repetitions: int) -> list[Trial]:
    """Measure all ways in turns on one server, a slice of the oldest runs at a time."""
    runs = max(runs, (repetitions + 1) * (sum(_RUNS.values()) + len(_RUNS) + 1))
    with Postgres(options=SERVER, durable=True) as cluster:
        url = cluster.create_database("served")
        migrate(url)
        # Runs without task runs are those that the API can guard.
        fill(cluster, "served", Size(logs=runs * 20, runs=runs), tasks=False)
        with PrefectServer(url) as server:
            stage = _Stage(cluster, server)
            return [
                stage.trial(contender)
                for _ in range(repetitions)
                for contender in (IDLE, ONE, UNPACED, PACED)
            ]


def goals(trials: list[Trial]) -> list[Goal]:
    """Say how far each goal is met."""
    calls = "the server is one process, which loads the runs and queues a task for each"
    return [
        times_faster(
            "runs a second through the API without pauses, against one by one",
            trials, ONE, _FASTER, faster=UNPACED, figure=RUN, bound=calls,
        ),
        times_of(
            "the server's read p95 while runs go with pauses, against the idle server's",
            trials, IDLE, _SLOWER, other=PACED, figure=P95, bound=calls,
        ),
    ]  # fmt: skip


def told(trials: list[Trial]) -> dict[str, str]:
    """Say the other sides of both goals."""
    slowed = {way: ratio(trials, way, IDLE, P95) for way in (ONE, UNPACED)}
    return {
        "runs a second with pauses": f"{ratio(trials, ONE, PACED, RUN):.1f} times one by one",
        "the server's read p95 without pauses": f"{slowed[UNPACED]:.1f} times idle",
        "the server's read p95 one by one": f"{slowed[ONE]:.1f} times idle",
    }


def main() -> None:
    """Print the trials' table and the goals."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5000)
    options.add_argument("--repetitions", type=int, default=3)
    asked = options.parse_args()
    end_orderly()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}")
    trials = run(asked.runs, asked.repetitions)
    print(*table(trials, IDLE), sep="\n")
    print(*goals_table(goals(trials)), sep="\n")
    for what, text in told(trials).items():
        print(f"- {what}: {text}")
    for way in (ONE, UNPACED, PACED):
        rates = [1000 / trial.figures[RUN] for trial in trials if trial.contender == way]
        print(f"- {way}: {statistics.median(rates):.0f} runs/s")


if __name__ == "__main__":
    main()
