"""A table whose rows went in more ways than one says each, with its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from maintenance import engine_for, fill, request, run_all, run_step, table
from prefect_maintenance.report.markdown import markdown
from prefect_maintenance.run.outcome import Outcome
from world import NOW, SAME, TABLES, Policy, dump

from lab.server import PrefectServer

POLICY = Policy(NOW, {**SAME, "logs": 40})
# Young logs of runs that were gone before, in the world of the seed.
ORPHANED = 24


def maintain(engine: sa.Engine, *, check: bool) -> list[Outcome]:
    """Measure, purge by a rewrite, delete by SQL and vacuum, as the role does it."""
    asked = request(engine, POLICY, purge_strategy="rewrite", run_delete_via="sql")
    report: Mapping[str, Any] = {"host": "test"}
    outcomes = []
    for step in ("bloat_info", "purge", "delete", "vacuum"):
        outcomes.append(run_step(step, {**asked, "report": report}, check=check))
        report = outcomes[-1].report.as_json()
    return outcomes


def rows(engine: sa.Engine, name: str = "log") -> int:
    return len(dump(engine, [name])[name])


def test_logs_that_were_purged_by_a_rewrite_and_went_with_their_runs_are_counted_apart(
    database: str,
) -> None:
    engine = engine_for(database)
    fill(engine, POLICY, seed=4)
    foretold = maintain(engine, check=True)
    before = rows(engine)
    _, purged, deleted, vacuumed = maintain(engine, check=False)
    after = rows(engine)
    engine.dispose()
    gone = purged.report.deleted["log"]
    cascaded = before - after - gone
    rewritten, orphaned = gone - ORPHANED, ORPHANED
    assert min(rewritten, cascaded) > 0
    for outcome in (deleted, vacuumed):
        log = table(outcome)
        assert log.ways == {"rewrite": rewritten, "delete by run": orphaned, "cascade": cascaded}
        assert log.strategy == "rewrite"
    planned = table(foretold[-1])
    assert planned.ways == {"rewrite": rewritten, "delete": orphaned, "cascade": cascaded}
    assert planned.strategy == "rewrite (planned)"
    for outcome, how in (
        (vacuumed, f"rewrite {rewritten}, delete by run {orphaned}, cascade {cascaded}"),
        (
            foretold[-1],
            f"rewrite {rewritten}, delete {orphaned}, cascade {cascaded}, VACUUM (planned)",
        ),
    ):
        for text in ("\n".join(outcome.summary), markdown(outcome.report.as_json())):
            assert how in text


def test_the_ways_of_a_table_add_up_to_the_rows_that_left_it_in_check_mode_too(
    engine: sa.Engine,
) -> None:
    fill(engine, POLICY, seed=4)
    foretold = maintain(engine, check=True)[-1].report
    before = {name: rows(engine, name) for name in TABLES}
    done = maintain(engine, check=False)[-1].report
    gone = {name: before[name] - rows(engine, name) for name in TABLES}
    for report in (foretold, done):
        counted = {t.name: sum(t.ways.values()) for t in report.tables}
        assert {name: counted.get(name, 0) for name in TABLES} == gone
    task_runs = next(t for t in done.tables if t.name == "task_run")
    assert set(task_runs.ways) == {"sql", "cascade"}
    assert task_runs.strategy == "sql"
    states = next(t for t in done.tables if t.name == "flow_run_state")
    assert "cascade" in states.ways


def test_runs_that_went_through_the_api_and_by_sql_are_counted_apart(
    shared_server: PrefectServer,
) -> None:
    engine = engine_for(shared_server.db_url)
    fill(engine, POLICY, seed=4)
    before = rows(engine, "flow_run")
    asked = {**POLICY.request(), "run_delete_via": "api"}
    runs = table(run_all(shared_server, asked)[-1], "flow_run")
    assert set(runs.ways) == {"api", "sql"}
    assert runs.strategy == "api and sql"
    assert sum(runs.ways.values()) == before - rows(engine, "flow_run")
    engine.dispose()
