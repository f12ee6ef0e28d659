"""A rewrite that ends at the wrong moment: its result stays, its leftovers go."""

from __future__ import annotations

from typing import Any

import pytest
from maintenance import at_first_batch, name_of, run_step
from prefect_maintenance.database.connection import Database
from prefect_maintenance.errors import ConnectionFailed, MaintenanceError
from prefect_maintenance.execute import rewrite
from prefect_maintenance.measure import leftovers
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.pace.signals import Signals
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from rewriting import (
    ROWS,
    debris,
    ids,
    purge,
    session,
    strategy,
)

from lab.postgres import Postgres

pytestmark = pytest.mark.usefixtures("small_pieces")


@pytest.mark.parametrize("statement", ["SET LOCAL maintenance_work_mem", "CREATE INDEX"])
def test_a_session_that_ends_while_it_builds_an_index_fails_in_one_line(
    cluster: Postgres,
    database: str,
    young: set[str],
    statement: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really = Database._execute

    def deadly(self: Database, sql: str, values: Any) -> Any:
        if statement in sql:
            driver: Any = self.connection.connection.driver_connection
            pid = driver.get_backend_pid()
            cluster.execute("SELECT pg_terminate_backend(%s, 5000)", values=[pid])
        return really(self, sql, values)

    monkeypatch.setattr(Database, "_execute", deadly)
    settings = Settings.parse({"db_url": database, "purge_strategy": "rewrite"}, check=False)
    outcome = STEPS["purge"](settings, Pace())
    assert isinstance(outcome.error, MaintenanceError)
    monkeypatch.undo()
    purge(database)
    assert set(ids(cluster, database)) == young
    assert debris(cluster, database) == []


def test_a_lock_on_the_old_table_takes_nothing_of_the_result_back(
    cluster: Postgres, database: str, young: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = rewrite._finished
    with session(cluster, database) as backup:

        def held(job: Any, names: Any, *others: Any) -> Any:
            backup.execute(f"LOCK TABLE {names.old} IN ACCESS SHARE MODE")
            return really(job, names, *others)

        monkeypatch.setattr(rewrite, "_finished", held)
        outcome = purge(database, lock_timeout=0.2)
    assert (strategy(outcome), outcome.changed) == ("rewrite", True)
    assert outcome.report.deleted["log"] == ROWS - len(young)
    assert any("its old file is still there" in w for w in outcome.report.warnings)
    assert ("log__maintenance_old",) in debris(cluster, database)
    assert set(ids(cluster, database)) == young
    named = run_step("bloat_info", {"db_url": database}).report.warnings
    assert any("an interrupted rewrite left log__maintenance_old" in w for w in named)
    assert not any("unknown tables" in w for w in named)
    monkeypatch.undo()
    run_step("vacuum", {"db_url": database})
    assert debris(cluster, database) == []


def test_the_session_that_drops_the_old_indexes_is_not_needed(
    cluster: Postgres, database: str, young: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    really, ended = Database._execute, []

    def deadly(self: Database, sql: str, values: Any) -> Any:
        if sql.startswith("DROP INDEX IF EXISTS"):
            ended.append(sql)
            pid = self.driver.get_backend_pid()
            cluster.execute("SELECT pg_terminate_backend(%s, 5000)", values=[pid])
        return really(self, sql, values)

    monkeypatch.setattr(Database, "_execute", deadly)
    outcome = purge(database)
    assert len(ended) == 1
    assert (strategy(outcome), outcome.error, outcome.report.warnings) == ("rewrite", None, ())
    assert set(ids(cluster, database)) == young
    assert debris(cluster, database) == []


@pytest.mark.parametrize("dead", ["pg_total_relation_size", "DROP TABLE"])
def test_a_session_that_ends_after_the_swap_takes_nothing_of_the_report_along(
    cluster: Postgres,
    database: str,
    young: set[str],
    dead: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really, swapped = Database._execute, False

    def deadly(self: Database, sql: str, values: Any) -> Any:
        nonlocal swapped
        swapped = swapped or "RENAME TO log" in sql
        if dead in sql and swapped:
            cluster.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name LIKE 'prefect-maintenance%%'"
            )
        return really(self, sql, values)

    monkeypatch.setattr(Database, "_execute", deadly)
    settings = Settings.parse({"db_url": database, "purge_strategy": "rewrite"}, check=False)
    outcome = STEPS["purge"](settings, Pace())
    assert isinstance(outcome.error, ConnectionFailed)
    assert outcome.changed
    assert outcome.report.deleted["log"] == ROWS - len(young)
    assert set(ids(cluster, database)) == young


def leave_a_rewrite(cluster: Postgres, url: str) -> None:
    """Leave what a run leaves that is killed in the middle of its copy."""
    patch = pytest.MonkeyPatch()
    with patch.context() as killed:
        # Nothing can be tidied up by the dead.
        killed.setattr(leftovers, "remove", lambda *_: None)
        signals = Signals()
        with (
            at_first_batch("log", lambda: signals.note("SIGKILL"), signals) as pace,
            pytest.raises(Exception, match="SIGKILL"),
        ):
            purge(url, pace)
    assert len(debris(cluster, url)) > 3


@pytest.mark.parametrize("step", ["purge", "vacuum"])
def test_what_a_killed_run_left_is_no_obstacle_and_is_removed_first(
    cluster: Postgres, database: str, young: set[str], step: str
) -> None:
    # More than the measurement may be wrong by comes back.
    for sql in (
        "INSERT INTO log (id, name, level, message, timestamp) SELECT gen_random_uuid(), 'gone', "
        "20, repeat('m', 200), now() FROM generate_series(1, 20000)",
        # A row at the end keeps VACUUM from cutting off the pages before it.
        "INSERT INTO log (id, name, level, message, timestamp) "
        "VALUES (gen_random_uuid(), 'last', 20, 'm', now())",
        "DELETE FROM log WHERE name = 'gone'",
        "VACUUM ANALYZE log",
    ):
        cluster.execute(sql, name_of(database))
    leave_a_rewrite(cluster, database)
    asked = {"db_url": database, "vacuum": "rewrite", "vacuum_min_bytes": 0,
             "vacuum_min_percent": 0, "purge_strategy": "rewrite"}  # fmt: skip
    checked = run_step(step, asked, check=True)
    done = run_step(step, asked)
    for outcome in (checked, done):
        log = next(t for t in outcome.report.tables if t.name == "log")
        way = log.strategy if step == "purge" else log.reclaim
        assert way.startswith("rewrite"), (log.strategy_why, log.reclaim_why)
    assert debris(cluster, database) == []
    assert young <= set(ids(cluster, database))
