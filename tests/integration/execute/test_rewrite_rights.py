"""Whatever rights and names others have: a rewrite gives nobody more and takes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from maintenance import at_first_batch, clear, engine_for, name_of, wait_until
from rewriting import (
    ROWS,
    debris,
    ids,
    purge,
    schema,
    session,
    strategy,
)

from lab.postgres import Postgres

pytestmark = pytest.mark.usefixtures("small_pieces")


def owner_of(cluster: Postgres, url: str, role: str) -> str:
    """Make a role that owns the tables and may see nothing of other sessions; returns its URL."""
    name = name_of(url)
    cluster.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'kept'")
    cluster.execute(f"GRANT ALL ON SCHEMA public TO {role}", name)
    for (table,) in cluster.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = 'public'::regnamespace", name,
    ):  # fmt: skip
        cluster.execute(f"ALTER TABLE {table} OWNER TO {role}", name)
    return cluster.url(name, role, "kept")


@pytest.fixture
def owner(cluster: Postgres, database: str, young: set[str]) -> Iterator[str]:
    yield owner_of(cluster, database, "mere_owner")
    cluster.execute("REASSIGN OWNED BY mere_owner TO postgres", name_of(database))
    cluster.execute("DROP OWNED BY mere_owner CASCADE", name_of(database))
    cluster.execute("DROP ROLE mere_owner")


READERS = {
    "a report in steps": ("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM flow",
                          "SELECT count(*) FROM log"),
    "one string": ("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM flow; "
                   "SELECT pg_advisory_lock(77); SELECT count(*) FROM log", None),
    "a stable function": ("SELECT seen_late()", None),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_sees_an_empty_table_when_the_role_is_a_mere_owner(
    cluster: Postgres, database: str, owner: str, young: set[str], reader: str
) -> None:
    cluster.execute(
        "CREATE FUNCTION seen_late() RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN "
        "PERFORM pg_advisory_lock(77); RETURN (SELECT count(*) FROM log); END $$",
        name_of(database),
    )
    first, second = READERS[reader]
    seen: list[int] = []
    with session(cluster, database) as gate, session(cluster, database) as reading:
        reading.connection.autocommit = True
        gate.execute("SELECT pg_advisory_lock(77)")

        def read() -> None:
            reading.execute(first)
            if second is None:
                seen.append(reading.fetchone()[0])

        at_work = threading.Thread(target=read)
        at_work.start()
        if second is None:
            waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 77"
            wait_until(lambda: cluster.execute(f"{waits} AND NOT granted"))
        else:
            at_work.join()
        outcome = purge(owner, lock_timeout=0.5)
        if second is not None:
            reading.execute(second)
            seen.append(reading.fetchone()[0])
        gate.execute("SELECT pg_advisory_unlock(77)")
        at_work.join()
    assert seen == [ROWS]
    told = " ".join(outcome.report.warnings)
    assert "whose snapshot may see log empty" in told
    assert "GRANT pg_read_all_stats TO mere_owner" in told
    assert strategy(outcome).startswith("delete")
    assert set(ids(cluster, database)) == young


def test_a_mere_owner_rewrites_when_nobody_holds_a_snapshot(
    cluster: Postgres, database: str, owner: str, young: set[str]
) -> None:
    assert strategy(purge(owner)) == "rewrite"
    assert set(ids(cluster, database)) == young
    assert debris(cluster, database) == []


BENT = {
    "a table of the same name": (
        "CREATE TEMPORARY TABLE log__maintenance_changes (id uuid, grown int)",
        "CREATE FUNCTION pg_temp.take() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN ALTER ROLE stranger SUPERUSER; RETURN NEW; END $$",
        "CREATE TRIGGER t BEFORE INSERT ON pg_temp.log__maintenance_changes "
        "FOR EACH ROW EXECUTE FUNCTION pg_temp.take()",
    ),
    "an operator of the same name": (
        "CREATE FUNCTION bent.take(text, text) RETURNS boolean LANGUAGE plpgsql AS "
        "$$ BEGIN ALTER ROLE stranger SUPERUSER; RETURN $1 OPERATOR(pg_catalog.=) $2; END $$",
        "CREATE OPERATOR bent.= (LEFTARG = text, RIGHTARG = text, FUNCTION = bent.take)",
        "SET search_path = bent, pg_catalog, public",
    ),
}


@pytest.mark.parametrize("way", BENT)
def test_nobody_who_writes_logs_can_run_code_as_the_maintenance(
    cluster: Postgres, database: str, young: set[str], way: str
) -> None:
    name = name_of(database)
    cluster.execute("CREATE ROLE stranger LOGIN PASSWORD 'kept'")
    cluster.execute("GRANT INSERT, SELECT ON log TO stranger", name)
    cluster.execute("CREATE SCHEMA bent AUTHORIZATION stranger", name)
    cluster.execute(f'GRANT TEMPORARY ON DATABASE "{name}" TO stranger')

    def attack() -> None:
        with session(cluster, database, user="stranger", password="kept") as cursor:
            for sql in BENT[way]:
                cursor.execute(sql)
            cursor.execute(
                "INSERT INTO log (id, name, level, message, timestamp) "
                "VALUES (gen_random_uuid(), 'stranger', 20, 'm', now())"
            )
            cursor.connection.commit()

    try:
        with at_first_batch("log", attack) as pace:
            outcome = purge(database, pace)
        rights = "SELECT rolsuper FROM pg_roles WHERE rolname = 'stranger'"
        assert cluster.execute(rights) == [(False,)]
        assert strategy(outcome) == "rewrite"
        kept = "SELECT count(*) FROM log WHERE name = 'stranger'"
        assert cluster.execute(kept, name) == [(1,)]
    finally:
        cluster.execute("DROP OWNED BY stranger", name)
        cluster.execute("DROP ROLE stranger")


def test_names_that_look_like_statements_or_parameters_are_only_names(
    cluster: Postgres, database: str, young: set[str]
) -> None:
    role = "a:b %s \"q\" 'x'\nnew"
    quoted = '"' + role.replace('"', '""') + '"'
    long = "i" * 63
    with session(cluster, database) as cursor:
        cursor.connection.autocommit = True
        for sql in (
            f"CREATE ROLE {quoted}",
            f"GRANT SELECT ON log TO {quoted}",
            'CREATE INDEX "odd :name %s ""x"" \'y\'" ON log (name) '
            "WHERE message LIKE '%:error' AND name <> 'a ON b USING c'",
            f"CREATE INDEX {long} ON log (level)",
            "COMMENT ON TABLE log IS '100% :of it''s \\ \"logs\"'",
        ):
            cursor.execute(sql)
    try:
        before = schema(cluster, database)
        outcome = purge(database)
        assert (strategy(outcome), outcome.report.warnings) == ("rewrite", ())
        assert schema(cluster, database) == before
        assert set(ids(cluster, database)) == young
    finally:
        with session(cluster, database) as cursor:
            cursor.connection.autocommit = True
            cursor.execute(f"DROP OWNED BY {quoted}")
            cursor.execute(f"DROP ROLE {quoted}")


def test_default_privileges_give_the_copy_nothing_more(
    cluster: Postgres, database: str, young: set[str]
) -> None:
    name = name_of(database)
    cluster.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", name)
    before = schema(cluster, database)
    outcome = purge(database)
    assert (strategy(outcome), outcome.report.warnings) == ("rewrite", ())
    assert schema(cluster, database) == before


def test_a_sessions_schema_is_followed_wherever_the_tables_are(
    cluster: Postgres, database: str, young: set[str]
) -> None:
    name = name_of(database)
    for sql in (
        'ALTER SCHEMA public RENAME TO "pre:fect %s"',
        f'ALTER DATABASE "{name}" SET search_path = "pre:fect %s"',
    ):
        with session(cluster, database) as cursor:
            cursor.connection.autocommit = True
            cursor.execute(sql)
    engine = engine_for(database)
    assert strategy(purge(database)) == "rewrite"
    with engine.connect() as connection:
        left = connection.execute(sa.text("SELECT CAST(id AS text) FROM log")).scalars()
        assert set(left) == young
    engine.dispose()
    clear(engine)
