"""Runs that are deleted by SQL: without an API, in whole trees, never one that is in use."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import FLOW, at_first_batch, clear, engine_for, request, run_step, with_defaults
from prefect_maintenance.errors import StepFailed
from prefect_maintenance.execute.ways import BySql
from world import NOW, POLICY, dump, insert, make_world

OLD = NOW - timedelta(days=60)
asked = partial(request, run_delete_via="sql")


@pytest.fixture(params=["database", "sqlite_database"])
def engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """A database without a server: a parent and its child, and eight lonely runs, all old."""
    engine = fill_with_ten(str(request.getfixturevalue(request.param)))
    yield engine
    engine.dispose()


def fill_with_ten(url: str) -> sa.Engine:
    """Leave a parent, its child with its task run, and eight lonely runs, all old."""
    engine = engine_for(url)
    clear(engine)
    world = make_world(POLICY, 1, flow=FLOW, size=0, foreign_keys=engine.dialect.name != "sqlite")
    ages = dict.fromkeys(("end_time", "state_timestamp", "start_time"), OLD)
    for number in range(10):
        world.run("flow_run", "flow_runs", flow_id=FLOW)
        world.rows["flow_run"][-1].update(
            id=str(uuid.UUID(int=number)), state_type="COMPLETED", parent_task_run_id=None, **ages
        )
    world.run(
        "task_run", "task_runs", flow_run_id=str(uuid.UUID(int=0)), task_key="t", dynamic_key="0"
    )
    task = world.rows["task_run"][-1]
    task.update(state_type="COMPLETED", **ages)
    world.rows["flow_run"][1]["parent_task_run_id"] = task["id"]
    insert(engine, world)
    return engine


def runs(engine: sa.Engine) -> set[int]:
    return {uuid.UUID(run).int for run in dump(engine, ["flow_run"])["flow_run"]}


def test_no_api_is_needed_and_what_hangs_on_the_runs_goes_with_them(engine: sa.Engine) -> None:
    outcome = run_step("delete", asked(engine))
    assert runs(engine) == set()
    assert dump(engine, ["task_run"])["task_run"] == {}
    assert (outcome.report.deleted["flow_run"], outcome.report.deleted["task_run"]) == (10, 1)
    assert next(t.strategy for t in outcome.report.tables if t.name == "flow_run") == "sql"
    assert not run_step("delete", asked(engine)).changed


def test_a_run_that_is_retried_meanwhile_survives_with_its_tree(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Trees go by their top: the oldest id first, so the lonely runs are looked at before.
    with_defaults(monkeypatch, BySql, runs_a_batch=2)
    with engine.begin() as connection:
        top = "UPDATE flow_run SET end_time = :later WHERE id = :id"
        later = OLD + timedelta(days=1)
        connection.execute(sa.text(top), _bound(engine, id=0, later=later))

    def retry_the_child() -> None:
        with engine.begin() as connection:
            retried = "UPDATE flow_run SET state_type = 'RUNNING' WHERE id = :id"
            connection.execute(sa.text(retried), _bound(engine, id=1))

    with at_first_batch("flow_run", retry_the_child) as pace:
        outcome = run_step("delete", asked(engine), pace=pace)
    assert runs(engine) == {0, 1}
    assert outcome.report.deleted["flow_run"] == 8


def test_a_run_that_somebody_holds_is_left_with_its_tree_until_the_next_run(
    database: str,
) -> None:
    # On SQLite there are no row locks: a writer keeps everybody else waiting.
    engine = fill_with_ten(database)
    with engine.begin() as holder:
        held = "SELECT 1 FROM flow_run WHERE id = :id FOR UPDATE"
        holder.execute(sa.text(held), _bound(engine, id=1))
        run_step("delete", {**asked(engine), "lock_timeout": 0.5})
        assert runs(engine) == {0, 1}
    run_step("delete", asked(engine))
    assert runs(engine) == set()
    engine.dispose()


def test_runs_stay_with_their_logs_while_somebody_keeps_writers_out_of_the_logs(
    database: str,
) -> None:
    engine = fill_with_ten(database)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log (id, name, level, message, timestamp, flow_run_id) "
                "SELECT gen_random_uuid(), 'l', 20, 'm', now(), id FROM flow_run"
            )
        )
    with engine.begin() as migration:
        # Whoever builds an index lets readers pass, so that the plan is made.
        migration.execute(sa.text("LOCK TABLE log IN SHARE MODE"))
        with pytest.raises(StepFailed, match="flow_run: a lock could not be had in time"):
            run_step("delete", {**asked(engine), "lock_timeout": 0.2})
    assert runs(engine) == set(range(10))
    outcome = run_step("delete", asked(engine))
    assert runs(engine) == set()
    assert dump(engine, ["log"])["log"] == {}
    assert outcome.report.deleted["log"] == 10
    engine.dispose()


def _bound(engine: sa.Engine, **values: Any) -> dict[str, Any]:
    from world import as_stored

    bound = {name: as_stored(engine, value) for name, value in values.items() if name != "id"}
    return {**bound, "id": str(uuid.UUID(int=values["id"]))}
