"""No transaction deletes more rows than asked, and dates without an end break no deletion."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import FLOW, clear, engine_for, request, run_step, with_defaults
from paces import paced
from prefect_maintenance.database.connection import connect
from prefect_maintenance.execute.batches import time_slices
from prefect_maintenance.execute.ways import BySql
from prefect_maintenance.measure.sizes import oldest
from statements import heard
from world import NOW, POLICY, World, insert

BOUND = 500
LOGS = 3000
OLD = NOW - timedelta(days=60)
YOUNG = NOW - timedelta(days=1)


def add_logs(world: World, run: str, count: int, **columns: Any) -> None:
    for _ in range(count):
        row = {"id": world.new_id(), "name": "l", "level": 20, "message": "m", "flow_run_id": run}
        world.rows["log"].append({**row, "timestamp": YOUNG, "task_run_id": None, **columns})


def add_old_run(world: World) -> str:
    run = world.run("flow_run", "flow_runs", flow_id=FLOW, parent_task_run_id=None)
    ages = {"end_time": OLD, "state_timestamp": OLD, "start_time": OLD}
    world.rows["flow_run"][-1].update(state_type="COMPLETED", **ages)
    return run


@contextmanager
def transactions() -> Iterator[list[int]]:
    """Count the rows that each transaction, or statement outside of one, deletes."""
    open_: Counter[int] = Counter()
    inside: set[int] = set()
    sums: list[int] = []

    def note(connection: sa.Connection, cursor: Any, statement: str, *_: object) -> None:
        me, word = id(connection.engine), statement.split(None, 1)[0]
        if word == "BEGIN":
            inside.add(me)
        elif word == "DELETE":
            open_[me] += cursor.rowcount
        if word == "COMMIT" or me not in inside:
            inside.discard(me)
            sums.append(open_.pop(me, 0))

    sa.event.listen(sa.Engine, "after_cursor_execute", note)
    try:
        yield sums
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", note)


def test_a_gone_runs_many_logs_go_in_transactions_of_the_batch_size(engine: sa.Engine) -> None:
    world = World(POLICY, 1)
    add_logs(world, world.new_id(), LOGS)
    add_logs(world, str(uuid.uuid4()), LOGS // 10)
    insert(engine, world)
    with transactions() as sums:
        outcome = run_step("purge", request(engine, batch_size=BOUND))
    assert outcome.report.deleted["log"] == LOGS + LOGS // 10 == sum(sums)
    assert max(sums) <= BOUND


def test_logs_of_one_instant_go_in_transactions_of_the_batch_size(engine: sa.Engine) -> None:
    world = World(POLICY, 1)
    add_logs(world, world.new_id(), LOGS, timestamp=OLD)
    add_logs(world, world.new_id(), 10 * LOGS, timestamp=NOW)
    insert(engine, world)
    with transactions() as sums:
        run_step("purge", request(engine, batch_size=BOUND, purge_strategy="delete"))
    assert sum(sums) == LOGS
    assert max(sums) <= BOUND


def test_the_logs_of_a_run_that_goes_are_cut_and_so_are_many_runs(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, bound=BOUND)
    world = World(POLICY, 1)
    for number in range(20):
        run = add_old_run(world)
        add_logs(world, run, LOGS if number == 0 else 1)
        for n in range(100):
            key = {"task_key": "t", "dynamic_key": str(n)}
            world.run("task_run", "task_runs", flow_run_id=run, **key)
    insert(engine, world)
    with transactions() as sums, rows_by_transaction(engine) as whole:
        outcome = run_step("delete", request(engine, run_delete_via="sql"))
    assert outcome.report.deleted["flow_run"] == 20
    assert outcome.report.deleted["task_run"] == 2000
    assert outcome.report.deleted["log"] == LOGS + 19
    assert max(sums) <= BOUND
    assert whole() <= BOUND


def test_the_logs_of_a_run_are_cut_where_they_are_too_many_to_count_before(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, bound=10)
    world = World(POLICY, 1)
    for count in (1, 300, 0, 7, 8):
        add_logs(world, add_old_run(world), count)
    insert(engine, world)
    with transactions() as sums:
        outcome = run_step("delete", request(engine, run_delete_via="sql"))
    assert outcome.report.deleted["flow_run"] == 5
    assert outcome.report.deleted["log"] == 316
    assert max(sums) <= 10


def test_the_pace_is_asked_once_between_two_batches_of_the_logs_of_runs_that_went(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, bound=10)
    world = World(POLICY, 1)
    for _ in range(3):
        add_logs(world, add_old_run(world), 8)
    insert(engine, world)
    happened: list[str] = []

    def note(_cursor: Any, statement: str, _values: Any) -> None:
        happened.extend(["log"] if statement.strip().startswith("DELETE FROM log") else [])

    with heard(note):
        pace = paced(lambda _: happened.append("asked"))
        run_step("delete", request(engine, run_delete_via="sql"), pace=pace)
    assert happened.count("log") == 3
    assert "asked asked" not in " ".join(happened)


@contextmanager
def rows_by_transaction(engine: sa.Engine) -> Iterator[Any]:
    """Count what foreign keys take along too, by a trigger; yields the most of a transaction."""
    tables = ("flow_run", "task_run", "log")
    with engine.begin() as own:
        own.execute(sa.text("CREATE TABLE gone (at text, tbl text)"))
        if engine.dialect.name == "postgresql":
            own.execute(
                sa.text(
                    "CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                    "INSERT INTO gone VALUES (pg_current_xact_id()::text, TG_TABLE_NAME); "
                    "RETURN OLD; END $$"
                )
            )
        for table in tables if engine.dialect.name == "postgresql" else ():
            each = "FOR EACH ROW EXECUTE FUNCTION gone()"
            own.execute(sa.text(f"CREATE TRIGGER gone AFTER DELETE ON {table} {each}"))

    def most() -> int:
        with engine.connect() as own:
            sql = "SELECT max(n) FROM (SELECT count(*) AS n FROM gone GROUP BY at) x"
            return int(own.scalar(sa.text(sql)) or 0)

    yield most


def test_a_row_of_the_past_without_end_goes_and_one_of_the_future_stays(database: str) -> None:
    engine = engine_for(database)
    clear(engine)
    world = World(POLICY, 1)
    for stamp in ("-infinity", "4000-01-01 00:00:00+00 BC", OLD, YOUNG, "infinity"):
        add_logs(world, str(uuid.uuid4()), 1, timestamp=stamp)
    add_logs(world, str(uuid.uuid4()), 200, timestamp=NOW)
    for row in world.rows["log"]:
        row["flow_run_id"] = None
    insert(engine, world)
    young = {str(r["id"]) for r in world.rows["log"] if r["timestamp"] in (YOUNG, "infinity", NOW)}
    with connect(database, 1.0) as opened:
        assert oldest(opened, "log") == OLD
    assert run_step("bloat_info", request(engine)).report.status == "ok"
    for size in (1, 1000):
        outcome = run_step("purge", request(engine, batch_size=size, purge_strategy="delete"))
    assert outcome.report.deleted["log"] == 0
    with engine.connect() as own:
        assert set(own.scalars(sa.text("SELECT CAST(id AS varchar) FROM log"))) == young
    engine.dispose()


def test_time_is_cut_in_its_own_order_and_not_in_that_of_its_text(database: str) -> None:
    dates = ["4000-01-01 00:00:00+00 BC", "0300-01-01 00:00:00+00 BC", "2026-01-01 00:00:00+00"]
    engine = engine_for(database)
    clear(engine)
    world = World(POLICY, 1)
    for stamp in dates:
        add_logs(world, world.new_id(), 1, timestamp=stamp)
    insert(engine, world)
    with connect(database, 5.0) as opened:
        slices = list(time_slices(opened, "log", "timestamp", NOW, lambda: 1))
    engine.dispose()
    assert [first for first, _, _ in slices] == dates
