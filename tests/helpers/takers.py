"""Others who take into use what a deletion is about to delete."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import sqlalchemy as sa
from maintenance import FLOW, clear
from world import NOW, POLICY, World, dump, insert

from lab.server import PrefectServer

OLD = NOW - timedelta(days=60)
YOUNG = NOW - timedelta(days=1)


# What somebody answers in place of the server: a status, and headers.
Instead = tuple[int, dict[str, str]]


def pass_all(_path: str) -> Instead | None:
    """Let the server answer every request."""
    return None


def sent_on(
    server: PrefectServer, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    """Send a request to the server; returns the status, the headers and the body of its answer."""
    onward = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {k: v for k, v in headers.items() if k.lower() != "accept-encoding"}
    onward.request(method, path, body, {**headers, "Accept-Encoding": "identity"})
    told = onward.getresponse()
    content = told.read()
    onward.close()
    return told.status, {"Content-Type": told.getheader("Content-Type") or "text/plain"}, content


@contextmanager
def between(
    server: PrefectServer,
    at_deletion: Callable[[], None] = lambda: None,
    instead: Callable[[str], Instead | None] = pass_all,
    *,
    afterwards: bool = False,
) -> Iterator[str]:
    """Stand between the engine and the server; yields the URL of the API there.

    Args:
        server: answers what is passed on.
        at_deletion: called before the deletion of rows of the history is passed on.
        instead: given the path of each request; may answer it in place of the server, or hang up
            by an OSError.
        afterwards: pass on what was answered in place of the server, too, once that is sent.
    """

    class Passing(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                answer = instead(self.path)
            except OSError:
                self.close_connection = True
                return
            if answer:
                self._answer(*answer, b"{}")
                if not afterwards:
                    return
            # The proof of whose database it is takes its own mark away, a variable.
            if re.search(r"/bulk_delete$|^DELETE (?!.*/variables/)", f"{self.command} {self.path}"):
                at_deletion()
            told = sent_on(server, self.command, self.path, body, dict(self.headers))
            if not answer:
                self._answer(*told)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        do_GET = do_POST = do_DELETE = _pass_on

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}/api"
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


@dataclass
class Party:
    """Somebody who uses what is about to be deleted, whenever it can be had.

    Attributes:
        kept: what hung on a run, or a task run, when it was taken into use, by table.
        hung: subflows and the task runs that they were hung on.
    """

    engine: sa.Engine
    strays: list[str]
    kept: dict[str, set[str]] = field(default_factory=dict)
    hung: dict[str, str] = field(default_factory=dict)
    turns: int = 0

    def act(self) -> None:
        """Do the next thing to the next row that nobody holds."""
        self.turns += 1
        with self.engine.begin() as mine:
            if self.turns % 4 == 0:
                self._use_a_task_run(mine)
            elif self.turns % 4 == 2 and self.strays:
                self._hang_a_subflow(mine)
            else:
                self._retry(mine)

    def _retry(self, mine: sa.Connection) -> None:
        order = ("id", "id DESC")[self.turns % 8 == 1]
        run = mine.scalar(
            sa.text(
                "SELECT CAST(id AS varchar) FROM flow_run WHERE state_type = 'COMPLETED' "
                f"ORDER BY {order} LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
            )
        )
        if run is None:
            return
        used = "UPDATE flow_run SET state_type = 'SCHEDULED', end_time = NULL WHERE id = :id"
        mine.execute(sa.text(used), {"id": run})
        self._keep(mine, "flow_run", f"id = '{run}'")
        for table in ("task_run", "flow_run_state", "artifact", "log"):
            self._keep(mine, table, f"flow_run_id = '{run}'")

    def _use_a_task_run(self, mine: sa.Connection) -> None:
        task = mine.scalar(
            sa.text(
                "SELECT CAST(id AS varchar) FROM task_run WHERE state_type = 'COMPLETED' "
                "AND flow_run_id IS NULL ORDER BY id DESC LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
            )
        )
        if task is None:
            return
        used = "UPDATE task_run SET state_type = 'RUNNING', end_time = NULL WHERE id = :id"
        mine.execute(sa.text(used), {"id": task})
        self._keep(mine, "task_run", f"id = '{task}'")
        self._keep(mine, "log", f"task_run_id = '{task}'")

    def _hang_a_subflow(self, mine: sa.Connection) -> None:
        task = mine.scalar(
            sa.text(
                "SELECT CAST(t.id AS varchar) FROM task_run t JOIN flow_run f "
                "ON f.id = t.flow_run_id AND f.state_type = 'COMPLETED' AND f.end_time < :cutoff "
                "ORDER BY md5(CAST(t.id AS varchar) || :turns) LIMIT 1 "
                "FOR KEY SHARE OF t SKIP LOCKED"
            ),
            {"cutoff": NOW - timedelta(days=30), "turns": str(self.turns)},
        )
        if task is None:
            return
        stray = self.strays.pop()
        hang = "UPDATE flow_run SET parent_task_run_id = CAST(:task AS uuid) WHERE id = :id"
        mine.execute(sa.text(hang), {"task": task, "id": stray})
        self.hung[stray] = task

    def _keep(self, mine: sa.Connection, table: str, where: str) -> None:
        ids = mine.scalars(sa.text(f"SELECT CAST(id AS varchar) FROM {table} WHERE {where}"))
        self.kept.setdefault(table, set()).update(ids)


@dataclass
class Filled:
    """A database full of what is about to go: single runs, trees, task runs, artifacts."""

    trees: list[set[str]]
    strays: list[str]


def fill_with_what_goes(engine: sa.Engine) -> Filled:
    clear(engine)
    world = World(POLICY, 3)

    def run(parent: str | None = None, at: Any = OLD, state: str = "COMPLETED") -> str:
        made = world.run("flow_run", "flow_runs", flow_id=FLOW, parent_task_run_id=parent)
        ages = {"end_time": at, "state_timestamp": at, "start_time": at}
        world.rows["flow_run"][-1].update(state_type=state, expected_start_time=at, **ages)
        stamp = {"type": state, "timestamp": at, "name": "s"}
        world.rows["flow_run_state"].append({"id": world.new_id(), "flow_run_id": made, **stamp})
        for _ in range(2):
            log(made, None)
        return made

    def task(of: str | None, at: Any = OLD) -> str:
        key = {"task_key": "t", "dynamic_key": world.new_id()}
        made = world.run("task_run", "task_runs", flow_run_id=of, **key)
        ages = {"end_time": at, "state_timestamp": at, "start_time": at}
        world.rows["task_run"][-1].update(state_type="COMPLETED", expected_start_time=at, **ages)
        log(of, made)
        return made

    def log(of: str | None, by: str | None) -> None:
        world.rows["log"].append(
            {"id": world.new_id(), "name": "l", "level": 20, "message": "m", "timestamp": YOUNG,
             "flow_run_id": of, "task_run_id": by}
        )  # fmt: skip

    trees = [{run()} for _ in range(12)]
    for _ in range(6):
        trees.append({run()})
        task(next(iter(trees[-1])))
    for _ in range(2):
        top = run()
        trees.append({top, *(run(task(top)) for _ in range(6))})
    for _ in range(12):
        task(None)
        # Of young finished runs, whose artifacts and task runs are old enough to go by themselves.
        young = run(at=YOUNG)
        task(young)
        world.rows["artifact"].append(
            {"id": world.new_id(), "key": None, "type": "markdown", "created": OLD,
             "flow_run_id": young, "task_run_id": None}
        )  # fmt: skip
    strays = [run(at=YOUNG, state="RUNNING") for _ in range(80)]
    insert(engine, world)
    return Filled(trees, strays)


def nothing_in_use_is_lost(engine: sa.Engine, filled: Filled, party: Party) -> None:
    left = dump(engine)
    for table, ids in party.kept.items():
        assert ids - set(left[table]) == set(), f"{table}: was in use"
    hung = {run: str(left["flow_run"][run]["parent_task_run_id"]) for run in party.hung}
    assert hung == party.hung, "a subflow lost its parent"
    for tree in filled.trees:
        assert tree & set(left["flow_run"]) in (set(), tree), "a tree is half there"


@contextmanager
def at_every_deletion(party: Party) -> Iterator[None]:
    """Let the party act before and after each statement of the engine that locks or deletes."""

    def act(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if connection.engine is not party.engine and (
            "SKIP LOCKED" in statement or statement.lstrip().startswith("DELETE")
        ):
            party.act()

    moments = ("before_cursor_execute", "after_cursor_execute")
    for moment in moments:
        sa.event.listen(sa.Engine, moment, act)
    try:
        yield
    finally:
        for moment in moments:
            sa.event.remove(sa.Engine, moment, act)
