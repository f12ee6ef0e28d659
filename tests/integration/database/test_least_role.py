"""The role that is made reads what the engine reads and no more, whatever its name; and sees
what the checks need, or says who could let it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, name_of, run_step
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.privileges import STEPS, missing_privileges
from prefect_maintenance.database.visibility import sees_all_sessions, sees_settings
from prefect_maintenance.errors import SettingsError

from lab.fleet import FILL
from lab.postgres import Postgres
from lab.server import PrefectServer

SECRET = "s3cret@least"
LEAST = {"role": "sweeper", "password": SECRET}
SEEING = ("pg_read_all_stats", "pg_read_all_settings")
NAMES = [
    "a:b",
    ":role %s %(on)s %%",
    "o'br\"ien\\; DROP TABLE log; --",
    "two\nlines",
    "x" * 63,
    "é" * 31 + "x",
]


@pytest.fixture
def logged(database: str, cluster: Postgres) -> Iterator[str]:
    """A database with logs to purge; whoever came with the test has gone after it."""
    engine = engine_for(database)
    clear(engine)
    engine.dispose()
    there = set(cluster.execute("SELECT rolname FROM pg_roles"))
    cluster.execute(FILL.format(days=20, rows=1), name_of(database))
    yield database
    for (role,) in set(cluster.execute("SELECT rolname FROM pg_roles")) - there:
        quoted = '"' + role.replace('"', '""') + '"'
        cluster.execute(f"REASSIGN OWNED BY {quoted} TO postgres", name_of(database))
        cluster.execute(f"DROP OWNED BY {quoted}", name_of(database))
        cluster.execute(f"DROP ROLE {quoted}")


def as_least(cluster: Postgres, url: str) -> str:
    return cluster.url(name_of(url), "sweeper", SECRET)


def give_to_keeper(cluster: Postgres, url: str) -> str:
    """Make an owner who may make roles and is no superuser; returns the URL."""
    cluster.execute(f"CREATE ROLE keeper LOGIN CREATEROLE PASSWORD '{SECRET}'")
    cluster.execute(f'ALTER DATABASE "{name_of(url)}" OWNER TO keeper')
    cluster.execute(
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables "
        "WHERE schemaname = 'public' LOOP EXECUTE format('ALTER TABLE %I OWNER TO keeper', t); "
        "END LOOP; ALTER SCHEMA public OWNER TO keeper; END $$",
        name_of(url),
    )
    return cluster.url(name_of(url), "keeper", SECRET)


def test_the_role_reads_no_values_of_variables_and_no_parameters_of_deployments(
    cluster: Postgres, shared_server: PrefectServer
) -> None:
    url = shared_server.db_url
    name = name_of(url)
    try:
        run_step("role", {"db_url": url, **LEAST})
        asked = {"db_url": as_least(cluster, url), "api_url": shared_server.api_url}
        # Through the API too: the proof of the same server reads the mark among the variables.
        read = {"growth_drivers": True, "before": ["purge", "delete"]}
        assert run_step("bloat_info", {**asked, **read}).report.forecast["disk"]
        run_step("purge", asked)
        run_step("delete", {**asked, "batch_size": 5})
        engine = engine_for(asked["db_url"])
        for forbidden in (
            "SELECT value FROM variable",
            "SELECT * FROM variable",
            "SELECT parameters FROM deployment",
            "SELECT infra_overrides FROM deployment",
            "SELECT tags FROM flow",
            "SELECT code_example FROM block_type",
        ):
            with engine.connect() as connection, pytest.raises(Exception, match="permission den"):
                connection.exec_driver_sql(forbidden)
        engine.dispose()
    finally:
        cluster.execute("DROP OWNED BY sweeper", name)
        cluster.execute("DROP ROLE sweeper")


def test_a_role_with_rights_on_whole_tables_from_before_lacks_nothing(
    cluster: Postgres, logged: str
) -> None:
    run_step("role", {"db_url": logged, **LEAST})
    read = "alembic_version, block_type, variable, flow, deployment, work_queue, work_pool"
    cluster.execute(f"REVOKE SELECT ON {read} FROM sweeper", name_of(logged))
    with connect(logged, 5.0) as database:
        assert [
            (lack.privilege, lack.on)
            for lack in missing_privileges(database, ["measure"], "sweeper")
        ] == [
            ("SELECT (version_num)", "alembic_version"),
            ("SELECT (id)", "block_type"),
            ("SELECT (id)", "variable"),
            ("SELECT (id, name)", "flow"),
            ("SELECT (id, name, flow_id, tags, updated)", "deployment"),
            ("SELECT (id, work_pool_id)", "work_queue"),
            ("SELECT (id, name)", "work_pool"),
        ]
        cluster.execute("GRANT SELECT (name) ON flow TO sweeper", name_of(logged))
        assert ("SELECT (id)", "flow") in {
            (lack.privilege, lack.on)
            for lack in missing_privileges(database, ["measure"], "sweeper")
        }
        cluster.execute(f"GRANT SELECT ON {read} TO sweeper", name_of(logged))
        assert missing_privileges(database, ["measure"], "sweeper") == []


def test_a_check_foretells_what_is_granted_and_writes_nothing(
    cluster: Postgres, logged: str
) -> None:
    name = name_of(logged)
    for own in (True, False):
        # Whoever writes at all, if only to roll back, fails in here.
        cluster.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        foretold = run_step("role", {"db_url": logged, **LEAST, "own": own}, check=True)
        cluster.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        made = run_step("role", {"db_url": logged, **LEAST, "own": own})
        assert made.changed is foretold.changed is True
        assert made.answers == foretold.answers
        assert made.report.warnings == foretold.report.warnings
        with connect(logged, 5.0) as database:
            left = missing_privileges(database, STEPS, "sweeper")
        assert bool(left) is bool(made.report.warnings)
        cluster.execute("DROP OWNED BY sweeper", name)
        cluster.execute("DROP ROLE sweeper")


@pytest.mark.parametrize("role", NAMES)
def test_a_name_of_a_role_means_itself_whatever_stands_in_it(
    cluster: Postgres, logged: str, role: str
) -> None:
    asked = {"db_url": logged, "role": role, "password": SECRET}
    foretold = run_step("role", asked, check=True)
    made = run_step("role", asked)
    assert made.answers == foretold.answers
    assert not run_step("role", asked).changed
    assert not run_step("role", {**asked, "own": True}, check=True).report.warnings
    run_step("role", {**asked, "own": True})
    url = sa.make_url(logged)
    with psycopg2.connect(
        host=url.host, port=url.port, dbname=url.database, user=role, password=SECRET
    ) as session:
        cursor = session.cursor()
        cursor.execute("SELECT current_user::text")
        assert cursor.fetchone() == (role,)
    session.close()
    stored = cluster.execute(
        "SELECT rolpassword LIKE 'SCRAM-SHA-256$%%' FROM pg_authid WHERE rolname = %s",
        values=[role],
    )
    assert stored == [(True,)]
    assert SECRET not in cluster.log()


@pytest.mark.parametrize("role", ["x" * 64, "é" * 32, "a\0b", "public", "none", "pg_mine"])
def test_a_name_that_no_role_can_have_is_refused_in_one_line(logged: str, role: str) -> None:
    for check in (True, False):
        with pytest.raises(SettingsError) as raised:
            run_step("role", {"db_url": logged, "role": role}, check=check)
        assert "role" in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1


def test_the_role_sees_sessions_and_settings_where_the_granter_may_let_it(
    cluster: Postgres, logged: str
) -> None:
    made = run_step("role", {"db_url": logged, **LEAST})
    assert [s for s in made.answers["statements"] if "pg_read" in s] == [
        f"GRANT {', '.join(SEEING)} TO sweeper"
    ]
    with connect(as_least(cluster, logged), 5.0) as database:
        assert sees_all_sessions(database)
        assert sees_settings(database)
        assert database.scalar("SHOW data_directory") == str(cluster.data)


def test_an_owner_who_may_not_let_it_see_says_what_a_superuser_can_grant(
    cluster: Postgres, logged: str
) -> None:
    keeper = give_to_keeper(cluster, logged)
    version = int(cluster.execute("SHOW server_version_num")[0][0])
    asked = {"db_url": keeper, **LEAST}
    foretold, made = run_step("role", asked, check=True), run_step("role", asked)
    assert made.answers == foretold.answers
    assert made.report.warnings == foretold.report.warnings
    if version < 160000:
        # Before PostgreSQL 16 whoever makes roles may do this too.
        assert (
            "GRANT pg_read_all_stats, pg_read_all_settings TO sweeper" in made.answers["statements"]
        )
        return
    assert not [s for s in made.answers["statements"] if "pg_read" in s]
    said = [line for line in made.report.warnings if "pg_read_all_stats" in line]
    assert len(said) == 1
    assert "GRANT pg_read_all_stats, pg_read_all_settings TO sweeper" in said[0]
    with connect(as_least(cluster, logged), 5.0) as database:
        assert not sees_all_sessions(database)
        assert not sees_settings(database)
    # What the warning names is enough.
    cluster.execute("GRANT pg_read_all_stats, pg_read_all_settings TO sweeper")
    again = run_step("role", asked)
    assert not again.changed
    assert not [line for line in again.report.warnings if "pg_read" in line]
    with connect(as_least(cluster, logged), 5.0) as database:
        assert sees_all_sessions(database)
    # An owner with the ADMIN option passes it on.
    cluster.execute("REVOKE pg_read_all_stats, pg_read_all_settings FROM sweeper")
    cluster.execute("GRANT pg_read_all_stats, pg_read_all_settings TO keeper WITH ADMIN OPTION")
    assert run_step("role", asked).answers["statements"] == [
        "GRANT pg_read_all_stats, pg_read_all_settings TO sweeper"
    ]
