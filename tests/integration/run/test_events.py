"""What a step does is told while it does it, with a total where one can be known."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
from maintenance import clear, engine_for, request
from prefect_maintenance.events import (
    COUNTED,
    MEASURED,
    Event,
    Events,
    FellBack,
    Progress,
    Reclaimed,
    Rewritten,
    StepStarted,
    TableDone,
    Warned,
)
from prefect_maintenance.execute import copy
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.plan.plan import Plan
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.run.outcome import Outcome
from rewriting import fill_logs

from lab.postgres import Postgres


def heard(step: str, asked: dict[str, Any], *, check: bool = False) -> tuple[Outcome, list[Event]]:
    """Carry out a step; returns its outcome and everything that was told meanwhile."""
    told: list[Event] = []
    outcome = STEPS[step](Settings.parse(asked, check=check), Pace(Events(told.append)))
    return outcome, told


def progress(told: list[Event], unit: str = "rows") -> list[Progress]:
    return [event for event in told if isinstance(event, Progress) and event.unit == unit]


def test_a_rewrite_tells_of_how_many_rows_it_copies_and_how_many_indexes_it_builds(
    cluster: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    young = fill_logs(cluster, database, 6000)
    # Rows of one instant are one piece.
    spread = "UPDATE log SET timestamp = timestamp - random() * interval '1 hour'"
    cluster.execute(spread, database.rsplit("/", 1)[1])
    monkeypatch.setattr(copy, "_PIECE", 500)
    asked = {"db_url": database, "purge_strategy": "rewrite"}
    outcome, told = heard("purge", asked)
    assert isinstance(told[0], StepStarted)
    copied = [one for one in progress(told) if one.table == "log" and one.done <= len(young)]
    assert {one.total for one in copied} == {len(young)}
    assert len({one.done for one in copied}) > 2
    built = progress(told, "indexes")
    assert [one.done for one in built] == list(range(1, len(built) + 1))
    assert {one.total for one in built} == {len(built)}
    done = next(e for e in told if isinstance(e, TableDone) and e.table == "log")
    assert done.ways == {"rewrite": 6000 - len(young)}
    assert any(isinstance(event, Rewritten) and event.table == "log" for event in told)
    assert outcome.report.deleted["log"] == done.rows


def test_a_purge_by_deletes_tells_after_each_batch_how_many_of_the_planned_rows_are_gone(
    cluster: Postgres, database: str
) -> None:
    young = fill_logs(cluster, database, 6000)
    asked = {"db_url": database, "purge_strategy": "delete", "batch_size": 500}
    _, told = heard("purge", asked)
    seen = [one for one in progress(told) if one.table == "log"]
    assert {one.total for one in seen} == {6000 - len(young)}
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert seen[-1].done == 6000 - len(young)


def test_a_rewrite_that_cannot_be_is_told_as_a_fall_back_with_its_reason(
    cluster: Postgres, database: str
) -> None:
    fill_logs(cluster, database, 600)

    def view_meanwhile(event: Event) -> None:
        if isinstance(event, Progress) and event.unit == "indexes" and not made:
            made.append("CREATE VIEW watched AS SELECT id FROM log")
            cluster.execute(made[0], database.rsplit("/", 1)[1])

    made: list[str] = []
    told: list[Event] = []

    def listen(event: Event) -> None:
        told.append(event)
        view_meanwhile(event)

    asked = {"db_url": database, "purge_strategy": "rewrite", "lock_timeout": 0.5}
    outcome = STEPS["purge"](Settings.parse(asked, check=False), Pace(Events(listen)))
    assert [event.table for event in told if isinstance(event, FellBack)] == ["log"]
    assert any(isinstance(event, Warned) and "by deletes" in event.text for event in told)
    table = outcome.report.table("log")
    assert table.strategy_why.endswith("but it could not be rewritten")
    assert table.ways.keys() != {"rewrite"}


@pytest.mark.parametrize("where", ["database", "sqlite_database"])
def test_each_table_is_done_once_in_a_step_and_its_plan_is_in_the_report(
    where: str, request: pytest.FixtureRequest
) -> None:
    url = str(request.getfixturevalue(where))
    engine = engine_for(url)
    clear(engine)
    engine.dispose()
    asked = {"db_url": url, "run_delete_via": "sql"}
    for step in ("purge", "delete", "vacuum"):
        outcome, told = heard(step, asked)
        done = [event.table for event in told if isinstance(event, TableDone)]
        names = [table for table, _ in groupby(done)]
        assert len(names) == len(done) or step == "vacuum"
        assert Plan.of_json(outcome.report.as_json()["plan"]) == outcome.report.plan
        assert not any(isinstance(event, Reclaimed) for event in told) or step == "vacuum"


def test_a_check_plans_everything_and_tells_of_no_table(cluster: Postgres, database: str) -> None:
    young = fill_logs(cluster, database, 6000)
    report: dict[str, Any] = {}
    for step in ("purge", "delete", "vacuum"):
        asked = {**request(database), "reference_time": None, "purge_strategy": "rewrite"}
        asked |= {"run_delete_via": "sql", "vacuum_min_bytes": 0, "vacuum_min_percent": 0}
        outcome, told = heard(step, {**asked, "report": report}, check=True)
        report = outcome.report.as_json()
        assert not any(isinstance(event, TableDone) for event in told)
        assert progress(told) == []
    plan = report["plan"]
    assert plan["rows"]["log"] == 6000 - len(young)
    assert plan["decisions"]["log"]["strategy"] == "rewrite"
    assert {choice["table"] for choice in plan["reclaim"]} >= {"log", "flow_run", "events"}
    assert plan["bytes_back"] > 0
    assert plan["fingerprint"] == Plan.of_json(plan).fingerprint


@pytest.mark.parametrize(
    ("step", "unit"),
    [("bloat_info", MEASURED), ("purge", COUNTED), ("delete", COUNTED), ("vacuum", MEASURED)],
)
def test_a_check_tells_how_many_tables_are_counted_or_measured_so_far(
    filled: str, step: str, unit: str
) -> None:
    _, told = heard(step, request(filled, run_delete_via="sql"), check=True)
    tables = progress(told, unit)
    assert [one.done for one in tables] == list(range(len(tables)))
    assert {one.total for one in tables} == {len(tables)}
    assert "log" in {one.table for one in tables}
