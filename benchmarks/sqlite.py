"""Writes and reads of a real server on SQLite while its file is purged, and while it is not.

The clients retry nothing, unlike Prefect's, so every answer that is no success is counted. A busy
server on SQLite answers 503 to some even while nobody maintains it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS

from lab import backlog
from lab.environments import ROOT
from lab.server import PrefectServer, migrate

from .measure import Trial

# What a write of the server may take, of twenty the slowest.
GOAL_MS = 200
IDLE, STEPS_BESIDE = "idle", ("purge", "delete", "vacuum")
WRITE_P95 = "write p95 ms"
# Seconds between two turns of a client, and for which an idle server is measured.
_EVERY, _LOOK = 0.5, 5.0
_READS = "reads"


def main() -> None:
    """Print what the server's writes take while it is idle, and during each step."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=300_000)
    for part in parts(options.parse_args().rows):
        show(part)


@dataclass
class Answers:
    """What the server answered to requests of one kind, and in how many milliseconds."""

    took: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)

    @property
    def p95(self) -> float:
        """Milliseconds of the slowest of twenty."""
        more = len(self.took) > 1
        return (
            statistics.quantiles(self.took, n=20, method="inclusive")[-1] if more else self.took[0]
        )


@dataclass(frozen=True)
class Part:
    """What clients met while the server was idle, or during a step.

    Attributes:
        answers: by the kind of request.
        gone: rows that the steps deleted so far.
        file_bytes: of the database afterwards.
    """

    what: str
    seconds: float
    answers: Mapping[str, Answers]
    gone: int
    file_bytes: int

    @property
    def trial(self) -> Trial:
        """The slowest kind of write, the reads, and how many requests failed."""
        writes = [found for kind, found in self.answers.items() if kind != _READS]
        reads = self.answers[_READS]
        return Trial(
            self.what,
            {
                "s": self.seconds,
                WRITE_P95: max(found.p95 for found in writes),
                "write max ms": max(max(found.took) for found in writes),
                "read p95 ms": reads.p95,
                "failed requests": sum(len(found.failed) for found in self.answers.values()),
            },
        )


def parts(rows: int) -> Iterator[Part]:
    """Let clients write and read while a server on SQLite is idle, and during each step."""
    with tempfile.TemporaryDirectory(prefix="prefect-lab-sqlite-") as folder:
        path = Path(folder) / "prefect.db"
        url = f"sqlite:///{path}"
        migrate(url)
        with PrefectServer(url) as server:
            server.run(ROOT / "lab" / "flows.py", "2")
            backlog.settle(url)
        backlog.age_and_multiply(url, rows)
        with PrefectServer(url) as server:
            with writing(server) as answers:
                time.sleep(_LOOK)
            yield Part(IDLE, _LOOK, answers, 0, path.stat().st_size)
            for step in STEPS_BESIDE:
                yield _measured(step, server, path)


def _measured(step: str, server: PrefectServer, path: Path) -> Part:
    request = {"db_url": server.db_url, "run_delete_via": "sql", "vacuum_min_bytes": 0}
    with writing(server) as answers:
        began = time.monotonic()
        outcome = STEPS[step](Settings.parse(request, check=False), Pace())
        took = time.monotonic() - began
    assert outcome.error is None, outcome.error
    gone = sum(outcome.report.deleted.values())
    return Part(step, took, answers, gone, path.stat().st_size)


def show(part: Part) -> None:
    """Print the latencies of each kind of request."""
    print(f"{part.what}, {part.seconds:.1f} s")
    for kind, found in part.answers.items():
        print(
            f"    {kind:10} {len(found.took):4} requests, {len(found.failed):3} failed "
            f"{sorted(set(found.failed))}; p50 {statistics.median(found.took):5.0f} ms, "
            f"p95 {found.p95:5.0f}, max {max(found.took):5.0f}"
            f"{'' if kind == _READS or found.p95 <= GOAL_MS else f': more than {GOAL_MS}'}"
        )
    print(f"    {part.gone:,} rows gone so far, the file has {part.file_bytes / 1e6:.0f} MB")


@contextmanager
def writing(server: PrefectServer) -> Iterator[dict[str, Answers]]:
    """Let clients write and read until the end of the block; the answers are there afterwards."""
    clients: dict[str, Callable[..., _Client]] = {
        "runs": _Runs, "logs": _Logs, "artifacts": _Artifacts, _READS: _Reads,
    }  # fmt: skip
    over = threading.Event()
    answers: dict[str, Answers] = {}
    threads = []
    for kind, client in clients.items():
        made = client(server, over, answers)
        threads.append(threading.Thread(target=made.work, args=(kind,)))
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


class _Client(ABC):
    """One client with a connection of its own, two turns a second."""

    def __init__(
        self, server: PrefectServer, over: threading.Event, answers: dict[str, Answers]
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port)
        self._over = over
        self._answers = answers
        self.flow = self.post("", "/flows/", {"name": "measured"})["id"]

    def work(self, kind: str) -> None:
        """Make requests until it is over, those of one turn at least."""
        self.once(kind)
        while not self._over.wait(_EVERY):
            self.once(kind)

    @abstractmethod
    def once(self, kind: str) -> None:
        """Make the requests of one turn."""

    def post(self, kind: str, path: str, body: Any) -> Any:
        """Make a request and note what came; nothing when it failed."""
        began = time.monotonic()
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", f"/api{path}", json.dumps(body), headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if kind:
            found = self._answers.setdefault(kind, Answers())
            found.took.append(1000 * (time.monotonic() - began))
            if answer.status >= 400:
                found.failed.append(answer.status)
                # The server closes the connection after some of its errors, and says so late.
                self._connection.close()
                return None
        return json.loads(text) if text else None


class _Runs(_Client):
    def once(self, kind: str) -> None:
        state = {"type": "PENDING", "name": "Pending"}
        run = self.post("create run", "/flow_runs/", {"flow_id": self.flow, "state": state})
        for name in ("RUNNING", "COMPLETED") if run else ():
            told = {"state": {"type": name, "name": name.title()}}
            self.post("set state", f"/flow_runs/{run['id']}/set_state", told)


class _Logs(_Client):
    def once(self, kind: str) -> None:
        line = {"name": "l", "level": 20, "message": "a line", "flow_run_id": str(uuid.uuid4())}
        line["timestamp"] = datetime.now(UTC).isoformat()
        self.post(kind, "/logs/", [line] * 20)


class _Artifacts(_Client):
    def once(self, kind: str) -> None:
        self.post(kind, "/artifacts/", {"key": "measured", "type": "markdown", "data": "x"})


class _Reads(_Client):
    def once(self, kind: str) -> None:
        self.post(kind, "/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 20})


if __name__ == "__main__":
    main()
