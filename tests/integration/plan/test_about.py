"""What a real run estimates of a large table, and what it counts all the same."""

from __future__ import annotations

from typing import Any

import pytest
from maintenance import clear, engine_for, name_of, run_step, table
from prefect_maintenance.plan import about
from prefect_maintenance.plan.purge import plan_purge
from prefect_maintenance.run import purge

from lab.postgres import Postgres

ROWS, YOUNG = 20_000, 2_000
_LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, repeat('m', 200),
       now() - CASE WHEN n % {rows} < {young} THEN 1 ELSE 90 END * interval '1 day'
FROM generate_series(1, {rows}) n ORDER BY n % {rows} DESC
"""


@pytest.fixture
def large(cluster: Postgres, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database whose logs count as many, of which a sample of few pages tells the number."""
    monkeypatch.setattr(about, "_LARGE", 2**20)
    monkeypatch.setattr(about, "_PAGES", 100)
    engine = engine_for(database)
    clear(engine)
    engine.dispose()
    cluster.execute(_LOGS.format(rows=ROWS, young=YOUNG), name_of(database))
    cluster.execute("VACUUM ANALYZE log", name_of(database))
    return database


def asked(url: str, **more: Any) -> dict[str, Any]:
    return {"db_url": url, "purge_strategy": "rewrite", **more}


def counts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which tables are estimated from now on."""
    really, found = about.about, list[str]()

    def noting(database: Any, rules: Any, table: Any, cutoffs: Any) -> Any:
        told = really(database, rules, table, cutoffs)
        if told:
            found.append(table.name)
        return told

    monkeypatch.setattr("prefect_maintenance.plan.purge.about", noting)
    return found


def test_a_run_that_estimates_reports_what_it_counted(
    large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated = counts(monkeypatch)
    foretold = run_step("purge", asked(large), check=True)
    assert estimated == []
    done = run_step("purge", asked(large))
    assert estimated == ["log"]
    assert table(done, "log").strategy == "rewrite"
    assert done.report.deleted["log"] == ROWS - YOUNG
    told, wanted = (outcome.report.plan for outcome in (done, foretold))
    assert (told.rows, told.reasons, told.about) == (wanted.rows, wanted.reasons, {})
    assert (done.before["log"], done.after["log"]) == (ROWS - YOUNG, 0)
    assert not run_step("purge", asked(large)).changed


@pytest.mark.parametrize(
    "more", [{"max_rows": ROWS}, {"purge_strategy": "delete"}], ids=["a cap", "deletes"]
)
def test_what_depends_on_the_number_of_rows_has_them_counted(
    large: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated = counts(monkeypatch)
    done = run_step("purge", asked(large, **more))
    assert estimated == []
    assert done.report.plan.rows["log"] == done.report.deleted["log"] == ROWS - YOUNG


def test_a_table_that_is_not_rewritten_after_all_is_counted(
    cluster: Postgres, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, roughly = plan_purge, list[bool]()

    def noting(*given: Any, **how: Any) -> Any:
        roughly.append(how["roughly"])
        return really(*given, **how)

    monkeypatch.setattr(purge, "plan_purge", noting)
    cluster.execute("CREATE VIEW seen AS SELECT id FROM log", name_of(large))
    done = run_step("purge", asked(large))
    assert roughly == [True, False]
    assert table(done, "log").strategy.startswith("delete")
    assert (done.report.plan.rows["log"], done.report.plan.about) == (ROWS - YOUNG, {})


def test_logs_that_only_their_run_keeps_are_not_taken_for_rows_that_go(
    cluster: Postgres, large: str
) -> None:
    name = name_of(large)
    for sql in (
        "INSERT INTO flow_run (id, name, flow_id, state_type, state_name) "
        "SELECT gen_random_uuid(), 'r', id, 'RUNNING', 'Running' FROM flow LIMIT 1",
        "UPDATE log SET flow_run_id = (SELECT id FROM flow_run)",
        "VACUUM FULL log",
        "ANALYZE log",
    ):
        cluster.execute(sql, name)
    done = run_step("purge", asked(large))
    assert not done.changed
    assert done.report.plan.rows["log"] == 0
    assert cluster.execute("SELECT count(*) FROM log", name) == [(ROWS,)]
