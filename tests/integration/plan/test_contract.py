"""The contract without a server: which rows go and which stay, and what is in use stays."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import (
    FLOW,
    at_first_batch,
    clear,
    engine_for,
    fill,
    request,
    run_step,
    with_defaults,
)
from oracle import compare, survivors
from prefect_maintenance.execute.ways import BySql
from world import MICROSECOND, NOW, POLICY, World, as_stored, dump, insert

OLD = NOW - timedelta(days=60)
YOUNG = NOW - timedelta(days=1)
asked = partial(request, run_delete_via="sql")
DATES = ("end_time", "state_timestamp", "start_time", "expected_start_time")


@pytest.mark.parametrize("strategy", ["delete", "rewrite"])
@pytest.mark.parametrize("seed", [21, 22])
def test_exactly_the_rows_of_the_contract_go(engine: sa.Engine, strategy: str, seed: int) -> None:
    fill(engine, seed=seed, size=90)
    before = dump(engine)
    report: dict[str, Any] = {}
    for check in (True, False):
        report = {}
        for step in ("purge", "delete"):
            way = {21: "sql", 22: "auto"}[seed]
            told = asked(engine, run_delete_via=way, purge_strategy=strategy, report=report)
            report = run_step(step, told, check=check).report.as_json()
        if check:
            assert dump(engine) == before, "a check changed a row"
            foretold = report["deleted"]
    left = dump(engine)
    compare(left, survivors(before, POLICY))
    gone = {table: len(rows) - len(left[table]) for table, rows in before.items()}
    assert {table: report["deleted"].get(table, 0) for table in gone} == gone
    assert {table: foretold.get(table, 0) for table in gone} == gone


class Scene:
    """Rows by hand; everything is finished and old unless it is said otherwise."""

    def __init__(self) -> None:
        self.world = World(POLICY, 1)

    def run(self, at: Any = OLD, state: str = "COMPLETED") -> str:
        made = self.world.run("flow_run", "flow_runs", flow_id=FLOW, parent_task_run_id=None)
        self._last("flow_run", at, state)
        return made

    def task(self, of: str | None) -> str:
        key = {"task_key": "t", "dynamic_key": self.world.new_id()}
        made = self.world.run("task_run", "task_runs", flow_run_id=of, **key)
        self._last("task_run", OLD, "COMPLETED")
        return made

    def artifact(self, of: str) -> str:
        row = {"id": self.world.new_id(), "key": None, "type": "markdown", "created": OLD}
        self.world.rows["artifact"].append({**row, "flow_run_id": of, "task_run_id": None})
        return str(row["id"])

    def _last(self, table: str, at: Any, state: str) -> None:
        ages = dict.fromkeys(DATES, at)
        self.world.rows[table][-1].update(state_type=state, **ages)


@pytest.mark.parametrize("table", ["flow_run", "task_run"])
def test_a_run_is_as_old_as_the_first_of_its_dates_and_stays_at_its_very_cutoff(
    engine: sa.Engine, table: str
) -> None:
    scene, cutoff, stays = Scene(), POLICY.cutoff(f"{table}s"), set()
    for number, first in enumerate(DATES):
        for at, later in ((cutoff, OLD), (cutoff - MICROSECOND, NOW)):
            made = scene.run() if table == "flow_run" else scene.task(None)
            dates = dict.fromkeys(DATES[:number])
            after = dict.fromkeys(DATES[number + 1 :], later)
            scene.world.rows[table][-1].update({**dates, first: at, **after})
            if at == cutoff:
                stays.add(made)
    insert(engine, scene.world)
    run_step("delete", asked(engine))
    assert set(dump(engine, [table])[table]) == stays


def set_state(engine: sa.Engine, table: str, row: str, state: str) -> None:
    with engine.begin() as connection:
        sql = f"UPDATE {table} SET state_type = '{state}', end_time = NULL WHERE id = :id"
        connection.execute(sa.text(sql), {"id": row})


def test_the_maintenance_run_itself_stays_whatever_its_state(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene()
    own, other = scene.run(), scene.run()
    insert(engine, scene.world)
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", own)
    outcome = run_step("delete", asked(engine))
    assert set(dump(engine, ["flow_run"])["flow_run"]) == {own}
    assert outcome.report.deleted["flow_run"] == len({other})
    assert [kept.why for kept in outcome.report.kept] == ["it is the maintenance run itself"]


def test_a_task_run_that_is_retried_meanwhile_stays(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, rows_a_batch=1)
    scene = Scene()
    first, retried, last = (scene.task(None) for _ in range(3))
    for number, row in enumerate(scene.world.rows["task_run"]):
        row["end_time"] = OLD + timedelta(hours=number)
    insert(engine, scene.world)
    with at_first_batch(
        "task_run", lambda: set_state(engine, "task_run", retried, "RUNNING")
    ) as pace:
        run_step("delete", asked(engine), pace=pace)
    left = set(dump(engine, ["task_run"])["task_run"])
    assert left == {retried}
    assert {first, last}.isdisjoint(left)


@pytest.mark.parametrize("table", ["artifact", "task_run"])
def test_what_belongs_to_a_run_that_is_retried_meanwhile_stays(
    engine: sa.Engine, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, rows_a_batch=1)
    scene = Scene()
    runs = [scene.run(at=YOUNG) for _ in range(3)]
    made = [scene.artifact(run) if table == "artifact" else scene.task(run) for run in runs]
    for number, row in enumerate(scene.world.rows[table]):
        row["created" if table == "artifact" else "end_time"] = OLD + timedelta(hours=number)
    insert(engine, scene.world)
    with at_first_batch(table, lambda: set_state(engine, "flow_run", runs[1], "RUNNING")) as pace:
        run_step("delete", asked(engine), pace=pace)
    assert set(dump(engine, [table])[table]) == {made[1]}


@pytest.mark.parametrize("table", ["artifact", "task_run"])
def test_what_belongs_to_a_run_that_somebody_holds_stays_until_the_next_run(
    database: str, table: str
) -> None:
    # On SQLite there are no row locks: a writer keeps everybody else waiting.
    engine = engine_for(database)
    clear(engine)
    scene = Scene()
    runs = [scene.run(at=YOUNG) for _ in range(2)]
    made = [scene.artifact(run) if table == "artifact" else scene.task(run) for run in runs]
    insert(engine, scene.world)
    with engine.begin() as holder:
        held = "SELECT 1 FROM flow_run WHERE id = CAST(:id AS uuid) FOR UPDATE"
        holder.execute(sa.text(held), {"id": runs[1]})
        outcome = run_step("delete", asked(engine))
        assert set(dump(engine, [table])[table]) == {made[1]}
    assert any("1 rows stay" in warning for warning in outcome.report.warnings)
    run_step("delete", asked(engine))
    assert dump(engine, [table])[table] == {}
    engine.dispose()


def test_logs_of_a_run_that_comes_back_meanwhile_stay(engine: sa.Engine) -> None:
    """A run that was not there when the purge looked for orphans, as after a late commit."""
    scene = Scene()
    back, gone = scene.world.new_id(), scene.world.new_id()
    for run in (back, gone):
        row = {"id": scene.world.new_id(), "name": "l", "level": 20, "message": "m"}
        scene.world.rows["log"].append(
            {**row, "timestamp": YOUNG, "flow_run_id": run, "task_run_id": None}
        )
    row = {"id": scene.world.new_id(), "name": "l", "level": 20, "message": "m"}
    scene.world.rows["log"].append({**row, "timestamp": OLD, "flow_run_id": None})
    insert(engine, scene.world)

    def come_back() -> None:
        with engine.begin() as connection:
            values = {"id": back, "flow": FLOW, "at": as_stored(engine, YOUNG)}
            connection.execute(
                sa.text(
                    "INSERT INTO flow_run (id, flow_id, name, state_type, end_time) "
                    "VALUES (:id, :flow, 'r', 'COMPLETED', :at)"
                ),
                values,
            )

    # Logs that are old go first, so the orphans are laid down by then.
    with at_first_batch("log", come_back) as pace:
        run_step("purge", asked(engine, purge_strategy="delete"), pace=pace)
    left = dump(engine, ["log"])["log"].values()
    assert [str(log["flow_run_id"]) for log in left] == [back]
