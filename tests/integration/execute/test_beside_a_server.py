"""A server on SQLite goes on writing while its file is purged."""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from maintenance import run_step, wait_until
from old_logs import ROWS, reclaiming, with_old_logs
from paces import paced
from prefect_maintenance.events import Progress
from prefect_maintenance.execute.batches import SQLITE_BATCH

from lab.server import PrefectServer


class Writer:
    """A client that writes as flows do, and tries a run's creation again as Prefect's does.

    Prefect reads before it writes when it creates a run, and fails at once when any other
    transaction comes between, be it one of its own.
    """

    def __init__(self, server: PrefectServer) -> None:
        self.through: Counter[str] = Counter()
        self.failed: list[tuple[str, int]] = []
        self.rounds = 0
        self._port = server.port
        self._over = threading.Event()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self._write)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _write(self) -> None:
        flow = self._post("flow", "/flows/", {"name": "beside"})["id"]
        line = {"name": "l", "level": 20, "message": "m", "flow_run_id": str(uuid.uuid4())}
        line["timestamp"] = datetime.now(UTC).isoformat()
        while not self._over.is_set():
            self._post("logs", "/logs/", [line] * 5)
            self._post("artifact", "/artifacts/", {"key": "beside", "type": "markdown"})
            run = None
            while run is None and not self._over.is_set():
                run = self._post("run", "/flow_runs/", {"flow_id": flow})
            if run is not None:
                state = {"state": {"type": "COMPLETED", "name": "Completed"}}
                self._post("state", f"/flow_runs/{run['id']}/set_state", state)
            self.rounds += 1

    def _post(self, kind: str, path: str, body: object) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/api{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status < 400:
            self.through[kind] += 1
            return json.loads(text) if text else None
        self.failed.append((kind, answer.status))
        return None


def test_every_write_gets_through_between_the_batches_of_a_purge(
    shared_sqlite_server: PrefectServer,
) -> None:
    url = with_old_logs(shared_sqlite_server.db_url)
    writer, batches = Writer(shared_sqlite_server), [0]

    def let_write(progress: Progress) -> None:
        if progress.table == "log":
            batches.append(progress.done)
            before = writer.rounds
            wait_until(lambda: writer.rounds > before, otherwise="the server's writes stand still")

    with writer.at_work():
        done = run_step("purge", reclaiming(url), pace=paced(let_write))
    assert done.report.deleted["log"] == ROWS * 9 // 10
    assert max(b - a for a, b in pairwise(batches)) <= SQLITE_BATCH
    assert {kind for kind, _ in writer.failed} <= {"run"}, writer.failed
    assert {status for _, status in writer.failed} <= {503}
    assert min(writer.through[kind] for kind in ("logs", "artifact", "run", "state")) >= 18
    assert done.report.database["intact"]
