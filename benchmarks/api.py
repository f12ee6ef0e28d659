"""Delete flow runs through the API of a real server: the project against one DELETE a run."""

from __future__ import annotations

import json
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS

from lab.postgres import Postgres
from lab.server import PrefectServer, migrate

from .backlog import Size, fill
from .measure import Trial
from .purge import SERVER


def run(runs: int, repetitions: int) -> list[Trial]:
    """Measure both ways in turns on one server, a slice of the oldest runs at a time.

    Each repetition deletes a tenth of the runs by the project and a hundredth one by one.
    """
    trials = []
    now = datetime.now(UTC)
    with Postgres(options=SERVER, durable=True) as cluster:
        url = cluster.create_database("served")
        migrate(url)
        fill(cluster, "served", Size(logs=runs * 20, runs=runs))
        with PrefectServer(url) as server:
            for _ in range(repetitions):
                trials.append(Trial("idle server", _read_latency(server, 5.0)))
                trials.append(_one_by_one(cluster, server, max(50, runs // 100)))
                trials.append(_project(cluster, server, now, max(500, runs // 10)))
    return trials


def _project(cluster: Postgres, server: PrefectServer, now: datetime, count: int) -> Trial:
    cutoff = cluster.execute(
        "SELECT end_time FROM flow_run ORDER BY end_time OFFSET %s LIMIT 1", "served", [count]
    )[0][0]
    days = {"flow_runs": 1, "task_runs": 9999, "artifacts": 9999, "logs": 9999, "events": 9999}
    asked = {
        "db_url": server.db_url,
        "api_url": server.api_url,
        "batch_size": 50,
        "retention": days,
        "reference_time": (cutoff + timedelta(days=1)).isoformat(),
    }
    with _reader(server) as latencies:
        started = time.monotonic()
        outcome = STEPS["delete"](Settings.parse(asked, check=False), Pace())
        seconds = time.monotonic() - started
    assert outcome.error is None, outcome.error
    return Trial("project", _figures(outcome.report.deleted["flow_run"], seconds, latencies))


def _one_by_one(cluster: Postgres, server: PrefectServer, count: int) -> Trial:
    oldest = cluster.execute(
        "SELECT id FROM flow_run ORDER BY end_time LIMIT %s", "served", [count]
    )
    with _reader(server) as latencies:
        started = time.monotonic()
        for (run_id,) in oldest:
            path = f"{server.api_url}/flow_runs/{run_id}"
            with urllib.request.urlopen(urllib.request.Request(path, method="DELETE")):
                pass
        seconds = time.monotonic() - started
    return Trial("one DELETE a run", _figures(count, seconds, latencies))


def _figures(runs: int, seconds: float, latencies: list[float]) -> dict[str, float]:
    return {"ms a run": 1000 * seconds / runs, "read p95 ms": _p95(latencies)}


def _read_latency(server: PrefectServer, seconds: float) -> dict[str, float]:
    with _reader(server) as latencies:
        time.sleep(seconds)
    return {"read p95 ms": _p95(latencies)}


def _p95(latencies: list[float]) -> float:
    return 1000 * statistics.quantiles(latencies, n=20)[-1]


@contextmanager
def _reader(server: PrefectServer) -> Iterator[list[float]]:
    """Read the newest runs every 50 ms, as an open dashboard does; yields the latencies."""
    latencies: list[float] = []
    done = threading.Event()
    body = json.dumps({"sort": "START_TIME_DESC", "limit": 20}).encode()

    def read() -> None:
        while not done.is_set():
            request = urllib.request.Request(
                f"{server.api_url}/flow_runs/filter",
                data=body,
                headers={"Content-Type": "application/json"},
            )
            started = time.monotonic()
            with urllib.request.urlopen(request) as answer:
                answer.read()
            latencies.append(time.monotonic() - started)
            done.wait(0.05)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield latencies
    finally:
        done.set()
        thread.join()
