"""A role that may maintain and nothing else; what it lacks is named before anything goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from maid import MAID, SECRET, as_maid
from maintenance import clear, engine_for, name_of, run_step
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.privileges import knows_maintain
from prefect_maintenance.errors import MaintenanceError, PrivilegeError, SettingsError, Unsupported

from lab.fleet import FILL
from lab.postgres import Postgres

DAYS = 20
EVERY = ["purge", "delete", "vacuum"]


@pytest.fixture
def logged(database: str, cluster: Postgres) -> Iterator[str]:
    """A database with logs to purge; its URL is the owner's."""
    engine = engine_for(database)
    clear(engine)
    engine.dispose()
    name = name_of(database)
    cluster.execute(FILL.format(days=DAYS, rows=1), name)
    cluster.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
    yield database
    if cluster.execute("SELECT 1 FROM pg_roles WHERE rolname = 'maid'"):
        cluster.execute("DROP OWNED BY maid", name)
        cluster.execute("DROP ROLE maid")


def maintain(asked: dict[str, Any], **more: Any) -> None:
    """Do everything that needs no API, as the role plays it."""
    vacuum = more.pop("vacuum", "plain")
    before = EVERY if vacuum != "none" else EVERY[:2]
    run_step("bloat_info", {**asked, "before": before})
    run_step("purge", {**asked, **more})
    run_step("delete", {**asked, "run_delete_via": "sql", "batch_size": 50})
    run_step("vacuum", {**asked, "vacuum": vacuum})


def logs(cluster: Postgres, url: str) -> int:
    return int(cluster.execute("SELECT count(*) FROM log", name_of(url))[0][0])


def maintains(url: str) -> bool:
    with connect(url, 5.0) as database:
        return knows_maintain(database)


def test_the_role_that_is_made_maintains_and_may_do_nothing_else(
    cluster: Postgres, logged: str
) -> None:
    asked = {"db_url": logged, **MAID}
    foretold = run_step("role", asked, check=True)
    assert foretold.changed
    assert cluster.execute("SELECT 1 FROM pg_roles WHERE rolname = 'maid'") == []
    made = run_step("role", asked)
    assert made.answers == foretold.answers
    assert made.answers["statements"][0] == "CREATE ROLE maid LOGIN"
    again = run_step("role", {**asked, "password": "another"})
    assert not again.changed
    assert SECRET not in str(made) + cluster.log()

    newest = maintains(logged)
    assert bool(made.report.warnings) is not newest
    maintain(as_maid(cluster, logged), vacuum="plain" if newest else "none")
    assert logs(cluster, logged) == DAYS - 6
    engine = engine_for(as_maid(cluster, logged)["db_url"])
    for forbidden in (
        "INSERT INTO log (id, name) VALUES (gen_random_uuid(), 'x')",
        "UPDATE flow_run SET name = 'x'",
        "DELETE FROM deployment",
        "SELECT * FROM block_document",
        "TRUNCATE log",
        "CREATE TABLE mine (n int)",
    ):
        with engine.connect() as connection, pytest.raises(Exception, match="permission denied"):
            connection.exec_driver_sql(forbidden)
    engine.dispose()


def test_a_role_that_owns_with_the_owner_may_vacuum_and_rewrite_on_every_version(
    cluster: Postgres, logged: str
) -> None:
    made = run_step("role", {"db_url": logged, **MAID, "own": True})
    assert "GRANT postgres TO maid" in made.answers["statements"]
    assert made.report.warnings == ()
    assert not run_step("role", {"db_url": logged, **MAID, "own": True}).changed
    maintain(as_maid(cluster, logged), purge_strategy="rewrite")
    assert logs(cluster, logged) == DAYS - 6


def test_a_rewrite_needs_no_more_sessions_than_the_server_has(
    cluster: Postgres, logged: str
) -> None:
    run_step("role", {"db_url": logged, **MAID, "own": True})
    # One session holds the table, one copies; the indexes are built by the one that copies.
    cluster.execute("ALTER ROLE maid CONNECTION LIMIT 2")
    done = run_step("purge", {**as_maid(cluster, logged), "purge_strategy": "rewrite"})
    assert next(t.strategy for t in done.report.tables if t.name == "log") == "rewrite"
    assert logs(cluster, logged) == DAYS - 6


def test_where_the_server_has_one_session_only_a_table_is_purged_by_deletes(
    cluster: Postgres, logged: str
) -> None:
    run_step("role", {"db_url": logged, **MAID, "own": True})
    cluster.execute("ALTER ROLE maid CONNECTION LIMIT 1")
    done = run_step("purge", {**as_maid(cluster, logged), "purge_strategy": "rewrite"})
    assert any("log needs a second session" in warning for warning in done.report.warnings)
    assert logs(cluster, logged) == DAYS - 6


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ("USAGE ON SCHEMA public", "to measure: USAGE on SCHEMA public"),
        ("SELECT (id) ON block_type, variable", "to measure: SELECT (id) on block_type, variable"),
        ("SELECT (id, name) ON flow", "to measure: SELECT (id, name) on flow"),
        ("SELECT (version_num) ON alembic_version", "SELECT (version_num) on alembic_version"),
        ("SELECT ON log, artifact", "to measure: SELECT on log, artifact"),
        ("DELETE ON log, events", "to purge: DELETE on log, events"),
        ("UPDATE ON artifact_collection", "to purge: UPDATE on artifact_collection"),
        ("TEMPORARY ON DATABASE {name}", "to purge: TEMPORARY on DATABASE {name}"),
        ("DELETE ON flow_run, task_run_state", "to delete: DELETE on flow_run, task_run_state"),
    ],
)
def test_a_missing_privilege_is_named_with_its_step_before_anything_goes(
    cluster: Postgres, logged: str, taken: str, said: str
) -> None:
    name = name_of(logged)
    run_step("role", {"db_url": logged, **MAID, "own": False})
    cluster.execute(f"REVOKE {taken.format(name=name)} FROM maid, PUBLIC", name)
    asked = as_maid(cluster, logged)
    with pytest.raises(PrivilegeError) as raised:
        run_step("bloat_info", {**asked, "before": ["purge", "delete"]})
    assert said.format(name=name) in str(raised.value)
    assert "the role maid" in str(raised.value)
    with pytest.raises(MaintenanceError):
        maintain(asked, vacuum="none")
    assert logs(cluster, logged) == DAYS

    given = run_step("role", {"db_url": logged, **MAID}).answers["statements"]
    assert given == [f"GRANT {taken.format(name=name)} TO maid"]
    maintain(asked, vacuum="none")
    assert logs(cluster, logged) == DAYS - 6


def test_the_right_to_vacuum_is_named_as_this_version_knows_it(
    cluster: Postgres, logged: str
) -> None:
    name = name_of(logged)
    run_step("role", {"db_url": logged, **MAID})
    newest = maintains(logged)
    if newest:
        cluster.execute("REVOKE MAINTAIN ON events, artifact FROM maid", name)
    right = "MAINTAIN on events" if newest else "ownership (before PostgreSQL 17) on log, events"
    with pytest.raises(PrivilegeError, match=r"vacuum none") as raised:
        maintain(as_maid(cluster, logged))
    assert f"to vacuum: {right}" in str(raised.value)
    assert logs(cluster, logged) == DAYS


def test_a_role_without_a_name_or_on_sqlite_is_refused(
    cluster: Postgres, logged: str, sqlite_database: str
) -> None:
    with pytest.raises(SettingsError, match="role is missing"):
        run_step("role", {"db_url": logged})
    with pytest.raises(Unsupported, match="SQLite has no roles"):
        run_step("role", {"db_url": sqlite_database, **MAID})
