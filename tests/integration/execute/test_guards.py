"""Another party retries, holds and re-parents runs at every request and every statement."""

from __future__ import annotations

import http.client
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import FLOW, clear, engine_for, request, run_step, with_defaults
from prefect_maintenance.execute.ways import BySql
from prefect_maintenance.request.settings import Api
from prefect_maintenance.server.api import open_api
from world import NOW, POLICY, World, dump, insert

from lab.postgres import Postgres
from lab.server import PrefectServer, migrate

OLD = NOW - timedelta(days=60)
YOUNG = NOW - timedelta(days=1)
OLD_SERVER = "3.4.25"
BY_SQL = {"run_delete_via": "sql"}
asked = partial(request, batch_size=5)


@contextmanager
def between(server: PrefectServer, at_request: Callable[[], None]) -> Iterator[str]:
    """Stand between the engine and the server; yields the URL of the API there."""

    class Passing(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command == "DELETE" or self.path.endswith("/bulk_delete"):
                at_request()
            onward = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            headers = {**dict(self.headers), "Accept-Encoding": "identity"}
            headers = {k: v for k, v in headers.items() if k != "accept-encoding"}
            onward.request(self.command, self.path, body, headers)
            answer = onward.getresponse()
            content = answer.read()
            onward.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type") or "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

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


@pytest.fixture
def old_server(cluster: Postgres, start_server: Callable[..., PrefectServer]) -> PrefectServer:
    """A server whose API deletes one run a request, whatever the run's state is."""
    url = cluster.create_database(f"old_{uuid.uuid4().hex[:8]}")
    migrate(url, OLD_SERVER)
    return start_server(url, version=OLD_SERVER)


@pytest.mark.parametrize("which", ["shared_server", "old_server"])
def test_what_is_taken_into_use_at_a_request_stays_with_all_that_hangs_on_it(
    which: str, request: pytest.FixtureRequest
) -> None:
    server: PrefectServer = request.getfixturevalue(which)
    engine = engine_for(server.db_url)
    filled = fill_with_what_goes(engine)
    party = Party(engine, list(filled.strays))
    with between(server, party.act) as api_url:
        outcome = run_step("delete", asked(server.db_url, api_url=api_url))
    nothing_in_use_is_lost(engine, filled, party)
    assert outcome.report.deleted["flow_run"] > 0
    engine.dispose()


@pytest.mark.parametrize("way", ["api", "sql"])
def test_what_is_taken_into_use_at_a_statement_stays_with_all_that_hangs_on_it(
    shared_server: PrefectServer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, rows_a_batch=4, runs_a_batch=4)
    engine = engine_for(shared_server.db_url)
    filled = fill_with_what_goes(engine)
    party = Party(engine, list(filled.strays))
    with at_every_deletion(party):
        run_step("delete", asked(shared_server, run_delete_via=way))
    nothing_in_use_is_lost(engine, filled, party)
    assert party.hung
    assert len(party.kept["flow_run"]) > 5
    engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "state_type = 'RUNNING'",
        "end_time = :young",
        "end_time = NULL",
        "parent_task_run_id = (SELECT id FROM task_run LIMIT 1)",
    ],
)
def test_a_server_that_deletes_runs_is_told_each_thing_that_keeps_one(
    shared_server: PrefectServer, change: str
) -> None:
    engine = engine_for(shared_server.db_url)
    fill_with_what_goes(engine)
    free = (
        "SELECT id FROM flow_run r WHERE state_type = 'COMPLETED' AND parent_task_run_id IS NULL "
        "AND end_time < :young AND NOT EXISTS (SELECT 1 FROM task_run t WHERE t.flow_run_id = r.id)"
        " ORDER BY id LIMIT 2"
    )
    with engine.begin() as connection:
        rows = connection.execute(sa.text(free), {"young": NOW - timedelta(days=15)})
        stays, goes = (str(row) for (row,) in rows)
        connection.execute(
            sa.text(f"UPDATE flow_run SET {change} WHERE id = :id"),
            {"id": stays, **({"young": YOUNG} if ":young" in change else {})},
        )
    with open_api(Api(shared_server.api_url)) as api:
        assert api.delete_runs([stays, goes], ["COMPLETED"], NOW - timedelta(days=15))
    left = dump(engine, ["flow_run"])["flow_run"]
    assert stays in left
    assert goes not in left
    engine.dispose()


def test_a_run_on_which_somebody_is_hanging_a_subflow_stays_until_that_is_done(
    database: str,
) -> None:
    engine = engine_for(database)
    filled = fill_with_what_goes(engine)
    with engine.begin() as holder:
        task, parent = holder.execute(
            sa.text(
                "SELECT t.id, CAST(f.id AS varchar) FROM task_run t JOIN flow_run f "
                "ON f.id = t.flow_run_id WHERE f.end_time = :old ORDER BY t.id LIMIT 1"
            ),
            {"old": OLD},
        ).one()
        hang = "UPDATE flow_run SET parent_task_run_id = :task WHERE id = :id"
        holder.execute(sa.text(hang), {"task": task, "id": filled.strays[0]})
        asked = {"db_url": database, **POLICY.request(), **BY_SQL, "lock_timeout": 0.5}
        outcome = run_step("delete", asked)
        left = set(dump(engine, ["flow_run"])["flow_run"])
        tree = next(tree for tree in filled.trees if parent in tree)
        assert left & {run for each in filled.trees for run in each} == tree
    assert any("rows stay" in warning for warning in outcome.report.warnings)
    engine.dispose()
