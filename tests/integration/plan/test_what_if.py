"""The report says what would go with a policy: counted in a check, else estimated in seconds."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, fill, request, run_step
from prefect_maintenance.plan import what_if
from prefect_maintenance.run.outcome import Outcome
from ruled_scene import RuledScene
from world import NOW, SAME, Policy, dump

POLICY = Policy(NOW, {**SAME, "logs": 40, "events": 5})


def asked(where: str | sa.Engine, *, check: bool, **more: Any) -> Outcome:
    """Ask what would go, as the report playbook does."""
    return run_step("bloat_info", request(where, POLICY, what_if=True, **more), check=check)


def by_table(outcome: Outcome) -> dict[str, int]:
    return {one.table: one.rows for one in outcome.report.what_if if one.rows}


def planned(where: str | sa.Engine) -> dict[str, int]:
    """Return what the check of a maintenance says that goes."""
    report: dict[str, Any] = {"host": "test"}
    for step in ("bloat_info", "purge", "delete"):
        done = run_step(
            step, {**request(where, POLICY, run_delete_via="sql"), "report": report}, check=True
        )
        report = done.report.as_json()
    return {table: rows for table, rows in report["deleted"].items() if rows}


def test_a_check_counts_the_rows_that_the_check_of_a_maintenance_counts(engine: sa.Engine) -> None:
    fill(engine, POLICY, seed=4)
    before = dump(engine)
    counted = asked(engine, check=True)
    assert by_table(counted) == planned(engine)
    assert {one.exact for one in counted.report.what_if} == {True}
    assert dump(engine) == before
    assert any("what would go with this policy, counted:" in line for line in counted.summary)


def test_without_a_check_the_same_is_estimated_from_statistics_and_samples(database: str) -> None:
    fill(database, POLICY, seed=5, size=400)
    engine = engine_for(database)
    with engine.begin() as connection:
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()
    estimated, counted = asked(database, check=False), by_table(asked(database, check=True))
    assert {one.exact for one in estimated.report.what_if} == {False}
    assert estimated.report.warnings == ()
    found = by_table(estimated)
    # Orphans and trees that stay whole are known only to a count.
    for table in ("log", "events", "event_resources", "artifact"):
        assert found[table] == pytest.approx(counted[table], rel=0.25), table
    for table in ("flow_run", "flow_run_state", "task_run", "task_run_state"):
        assert counted[table] <= found[table] < 4 * counted[table], table
    for one in estimated.report.what_if:
        size = next(t for t in estimated.report.tables if t.name == one.table)
        assert 0 <= one.bytes <= (size.bytes_before or 0)
        assert one.share == pytest.approx(one.rows / (size.rows_before or 1), abs=0.01)


def test_what_would_take_too_long_is_left_out_and_said(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what_if, "_BOUND", "SET LOCAL statement_timeout = '1ms'")
    slow = "SELECT CAST(CAST(pg_sleep(0.3) AS text) = '' AS int), 1"
    monkeypatch.setattr(what_if, "SHARE", slow)
    told = asked(filled, check=False).report
    [warning] = told.warnings
    assert warning.startswith("what would go of ")
    assert warning.endswith("an estimate would have taken too long; --check counts it")
    assert "flow_run" in warning
    assert "flow_run" not in {one.table for one in told.what_if}


def test_nobody_who_does_not_ask_is_told(filled: str) -> None:
    told = run_step("bloat_info", request(filled, POLICY)).report.as_json()
    assert "what_if" not in told


def test_rules_are_estimated_with_the_newest_that_they_keep(database: str) -> None:
    scene, engine = RuledScene(POLICY), engine_for(database)
    nightly, hourly = scene.deployment("nightly"), scene.deployment("hourly")
    for days in range(1, 41):
        scene.run(days, deployment_id=nightly)
        scene.run(days, deployment_id=hourly, state_type=("COMPLETED", "FAILED")[days % 2])
        scene.run(days, tags=["gdpr"])
    clear(engine)
    scene.put(engine)
    rules = [
        {"tags": ["gdpr"], "keep": "forever"},
        {"deployments": ["nightly"], "keep": {"days": 3, "last": 10}},
        {"deployments": ["hourly"], "keep": {"days": 3, "last_success": 4, "last_failure": 2}},
    ]
    estimated, counted = (asked(engine, check=check, rules=rules) for check in (False, True))
    # Of hourly, the estimate takes one clause for the other: the fourth success is of eight days.
    assert by_table(counted)["flow_run"] == 30 + 40 - 3 - 3
    assert by_table(estimated)["flow_run"] == pytest.approx(30 + 40 - 3 - 3, abs=2)
    told = {one.name: (one.rows, one.kept) for one in counted.report.plan.rules}
    assert told["rule 1"] == (0, 40)
    assert told["rule 2"] == (30, 10)
    assert "rules" in counted.report.as_json()
    engine.dispose()


def test_rules_for_events_and_logs_are_estimated_with_what_hangs_on_them(database: str) -> None:
    scene, engine = RuledScene(POLICY), engine_for(database)
    for days in range(1, 31):
        scene.event(days, "lab.heartbeat", "lab.1")
        scene.event(days, "lab.run", f"lab.{days}")
        scene.log(None, days, level=10)
        scene.log(None, days, level=40)
    clear(engine)
    scene.put(engine)
    rules: dict[str, Any] = {
        "event_rules": [{"events": ["*.heartbeat"], "keep": {"days": 20, "last": 3}}],
        "log_rules": [{"below": "INFO", "keep": {"days": 10}}],
    }
    estimated, counted = (by_table(asked(engine, check=check, **rules)) for check in (False, True))
    # Of events at their very cutoff each stays.
    assert counted == {"events": 10 + 25, "event_resources": 10 + 25, "log": 20}
    assert estimated == counted
    engine.dispose()
