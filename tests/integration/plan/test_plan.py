"""The plan of a deletion among many subflows: what PostgreSQL expects stays near what is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import FLOW, clear, engine_for, request, run_step
from prefect_maintenance.database.connection import Database, connect
from prefect_maintenance.errors import MaintenanceError
from prefect_maintenance.plan import gone_runs, purge
from prefect_maintenance.plan import plan as planning
from prefect_maintenance.plan.delete import plan_delete
from prefect_maintenance.plan.rules import Rules
from prefect_maintenance.request.settings import Settings
from world import POLICY

RUNS, CHAIN = 3000, 600
_RUNS = """
INSERT INTO flow_run (id, name, flow_id, state_type, state_name, end_time)
SELECT md5('r' || g)::uuid, 'run', :flow, 'COMPLETED', 's',
       CASE WHEN g <= :old THEN :at ELSE CAST(:now AS timestamptz) END
FROM generate_series(1, :runs) g
"""
_TASKS = """
INSERT INTO task_run (id, name, state_type, state_name, end_time, task_key, dynamic_key,
                      flow_run_id)
SELECT md5('t' || g)::uuid, 'task', 'COMPLETED', 's', :at, 'task', '0', md5('r' || g)::uuid
FROM generate_series(1, :runs) g
"""
# Each is a subflow of the one before: chains of `length` runs.
_LINKS = """
UPDATE flow_run SET parent_task_run_id = md5('t' || (g - 1))::uuid
FROM generate_series(1, :links) g WHERE id = md5('r' || g)::uuid AND g % :length <> 1
"""


def fill_with_chains(url: str, length: int, links: int = RUNS, old: int = RUNS) -> sa.Engine:
    """Fill a database with runs, of which the first so many hang together in chains, or are old."""
    engine = engine_for(url)
    clear(engine)
    at = POLICY.now.replace(year=POLICY.now.year - 1)
    with engine.begin() as connection:
        for sql, bound in (
            (_RUNS, {"flow": FLOW, "at": at, "now": POLICY.now, "runs": RUNS, "old": old}),
            (_TASKS, {"at": at, "runs": RUNS}),
            (_LINKS, {"links": links, "length": length}),
        ):
            connection.execute(sa.text(sql), bound)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    return engine


@contextmanager
def planned(url: str) -> Iterator[tuple[Database, planning.Plan]]:
    """Plan the deletion; the session, with what the plan laid down in it, is still there."""
    settings = Settings.parse(request(url), check=True)
    with connect(url, 5) as database:
        rules = Rules(states=settings.policy.states)
        yield database, plan_delete(database, rules, settings.cutoffs, purged=False)


def expected_rows(plan: dict[str, Any]) -> float:
    """Return the most rows that a node of a plan is expected to give."""
    inner = (expected_rows(child) for child in plan.get("Plans", ()))
    return max([float(plan["Plan Rows"]), *inner])


def test_no_statement_of_the_plan_is_expected_to_give_many_times_the_rows_that_there_are(
    database: str,
) -> None:
    engine = fill_with_chains(database, length=10, old=RUNS // 10)
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.split(None, 1)[0] in ("SELECT", "WITH", "INSERT") and "flow_run" in statement:
            seen.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        with planned(database) as (session, plan):
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
            assert plan.rows["flow_run"] == RUNS // 10
            assert len(seen) > 5
            for statement, parameters in seen:
                explained: Any = session.connection.exec_driver_sql(
                    f"EXPLAIN (FORMAT JSON) {statement}", parameters
                ).scalar()
                assert expected_rows(explained[0]["Plan"]) <= 10 * RUNS, statement
    finally:
        if sa.event.contains(sa.Engine, "before_cursor_execute", note):
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
        engine.dispose()


@pytest.mark.parametrize("kept", ["first", "last"])
def test_a_run_that_stays_keeps_a_chain_of_hundreds_of_subflows(database: str, kept: str) -> None:
    engine = fill_with_chains(database, length=CHAIN, links=CHAIN)
    with engine.begin() as connection:
        run = 1 if kept == "first" else CHAIN
        sql = "UPDATE flow_run SET state_type = 'RUNNING' WHERE id = md5('r' || :run)::uuid"
        connection.execute(sa.text(sql), {"run": str(run)})
    with planned(database) as (_session, plan):
        assert plan.rows["flow_run"] == RUNS - CHAIN
    engine.dispose()


def test_a_plan_can_be_made_in_a_session_that_may_not_write_to_prefects_tables(
    database: str,
) -> None:
    engine = fill_with_chains(database, length=10)
    with planned(database) as (session, plan):
        assert plan.rows["flow_run"] == RUNS
        with pytest.raises(MaintenanceError, match="read-only"), session.snapshot():
            session.run("DELETE FROM flow_run")
    with engine.connect() as connection:
        runs = connection.execute(sa.text("SELECT count(*) FROM flow_run")).scalar()
    assert runs == RUNS
    engine.dispose()


def test_logs_of_gone_runs_are_counted_alike_in_whatever_way_they_are_found(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = run_step("purge", request(filled), check=True)
    monkeypatch.setattr(purge, "_LOGS_A_RUN", 0)
    found = [checked]
    for passed in (True, False):
        monkeypatch.setattr(gone_runs, "_passed", lambda *_, way=passed: way)
        found.append(run_step("purge", request(filled), check=True))
    counts = [outcome.report.plan.orphaned["log"] for outcome in found]
    assert counts == [counts[0]] * 3
    assert counts[0] > 0
