"""What others do to a table while it is rewritten: no row lost, nothing of theirs undone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import FLOW, at_first_batch, clear, engine_for, name_of, run_step, wait_until
from prefect_maintenance.database.connection import Database
from prefect_maintenance.errors import ConnectionFailed, MaintenanceError
from prefect_maintenance.execute import copy, rewrite
from prefect_maintenance.measure import leftovers
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.pace.signals import Signals
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from rewriting import (
    ROWS,
    at_the_swap,
    debris,
    doing,
    fill_logs,
    ids,
    purge,
    schema,
    session,
    strategy,
)

from lab.postgres import Postgres

PIECE = 500


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_PIECE", PIECE)


WAITING = {
    "VACUUM (FULL) log": "",
    "CLUSTER log USING pk_log": "CLUSTER",
    "REINDEX TABLE log": "",
    "REINDEX TABLE CONCURRENTLY log": "",
    "ANALYZE log": "",
    "ALTER TABLE log ADD COLUMN extra int": "extra",
    "ALTER TABLE log SET (fillfactor = 70)": "fillfactor",
    "ALTER TABLE log REPLICA IDENTITY FULL": "REPLICA IDENTITY FULL",
    "ALTER TABLE log DISABLE TRIGGER ALL": "",
    "CREATE INDEX mine ON log (name)": "CREATE INDEX mine",
    "CREATE INDEX CONCURRENTLY mine ON log (name)": "CREATE INDEX mine",
    "CREATE TRIGGER mine BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION "
    "suppress_redundant_updates_trigger()": "CREATE TRIGGER mine",
    "CREATE POLICY mine ON log USING (true)": "CREATE POLICY mine",
    "CREATE RULE mine AS ON DELETE TO log DO ALSO NOTHING": "CREATE RULE mine",
    "CREATE PUBLICATION mine FOR TABLE log": "CREATE PUBLICATION mine",
    "CREATE TABLE mine (log_id uuid REFERENCES log)": "REFERENCES public.log",
    "CREATE STATISTICS mine ON level, name FROM log": "CREATE STATISTICS",
    "COMMENT ON TABLE log IS 'mine'": "COMMENT ON TABLE",
}


@pytest.mark.parametrize("command", WAITING)
def test_whoever_wants_the_table_gets_it_at_once_and_no_row_is_lost(
    cluster: Postgres, database: str, young: set[str], command: str
) -> None:
    # Carried out to its end while the rewrite is between two pieces: it waits for nothing there.
    with at_first_batch("log", doing(cluster, database, command)) as pace:
        outcome = purge(database, pace)
    assert set(ids(cluster, database)) == young
    assert outcome.report.deleted["log"] == ROWS - len(young)
    assert any("the rewrite of public.log gave way" in w for w in outcome.report.warnings)
    assert strategy(outcome).startswith("delete")
    assert WAITING[command] in "\n".join(schema(cluster, database))
    assert debris(cluster, database) == []


@pytest.mark.parametrize("command", ["VACUUM (FULL) log", "CLUSTER log USING pk_log"])
def test_rows_that_others_move_between_two_batches_go_all_the_same(
    cluster: Postgres, database: str, young: set[str], command: str
) -> None:
    with at_first_batch("log", doing(cluster, database, command)) as pace:
        outcome = purge(database, pace, purge_strategy="delete", batch_size=500)
    assert strategy(outcome) == "delete by heap range"
    assert set(ids(cluster, database)) == young
    assert outcome.report.deleted["log"] == ROWS - len(young)


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


UNSEEN = {
    "CREATE VIEW mine AS SELECT id FROM log": "CREATE VIEW public.mine",
    "CREATE FUNCTION mine() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM log; END": "ATOMIC",
    "CREATE POLICY mine ON flow USING (EXISTS (SELECT 1 FROM log))": "CREATE POLICY mine",
    "GRANT SELECT (id) ON log TO pg_monitor": "GRANT SELECT(id)",
    "GRANT SELECT ON log TO pg_monitor": "TO pg_monitor",
    "CREATE PUBLICATION mine FOR ALL TABLES": "FOR ALL TABLES",
}


@pytest.mark.parametrize("command", UNSEEN)
@pytest.mark.parametrize("instant", ["copy", "swap"])
def test_what_takes_no_lock_is_seen_before_the_swap_is_final(
    cluster: Postgres,
    database: str,
    young: set[str],
    command: str,
    instant: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    act = doing(cluster, database, command)
    if instant == "copy":
        with at_first_batch("log", act) as pace:
            outcome = purge(database, pace)
    else:
        at_the_swap(monkeypatch, act)
        outcome = purge(database)
    assert set(ids(cluster, database)) == young
    assert outcome.report.deleted["log"] == ROWS - len(young)
    assert strategy(outcome).startswith("delete")
    assert WAITING.get(command, UNSEEN[command]) in "\n".join(schema(cluster, database))
    assert debris(cluster, database) == []
    monkeypatch.undo()
    assert not purge(database).changed


@pytest.mark.parametrize("role", ["replica", "local"])
def test_sessions_of_any_replication_role_are_followed(
    cluster: Postgres, database: str, young: set[str], role: str
) -> None:
    added = "SELECT CAST(id AS text) FROM log WHERE name = 'replicated'"

    def write() -> None:
        with session(cluster, database) as cursor:
            cursor.execute(f"SET session_replication_role = {role}")
            cursor.execute(
                "INSERT INTO log (id, name, level, message, timestamp) "
                "SELECT gen_random_uuid(), 'replicated', 20, 'm', now() FROM generate_series(1, 99)"
            )
            cursor.connection.commit()

    # After the last piece, so that no copy can have seen them.
    with at_first_batch("log", write) as pace:
        outcome = purge(database, pace)
    found = {row[0] for row in cluster.execute(added, name_of(database))}
    assert (strategy(outcome), len(found)) == ("rewrite", 99)
    assert set(ids(cluster, database)) == young | found


def test_a_run_retried_while_the_swap_waits_keeps_its_logs(
    cluster: Postgres, database: str, young: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = "22222222-2222-4222-8222-222222222222"
    other = "33333333-3333-4333-8333-333333333333"
    task = "44444444-4444-4444-8444-444444444444"
    name = name_of(database)
    for row in (run, other):
        cluster.execute(
            f"INSERT INTO flow_run (id, flow_id, name, state_type, end_time) VALUES "
            f"('{row}', '{FLOW}', 'r', 'COMPLETED', now())",
            name,
        )
    cluster.execute(
        "INSERT INTO task_run (id, flow_run_id, task_key, dynamic_key, name) "
        f"VALUES ('{task}', '{other}', 't', '0', 't')",
        name,
    )
    for columns in (f"'{run}', NULL", f"NULL, '{task}'"):
        cluster.execute(
            "INSERT INTO log (id, name, level, message, timestamp, flow_run_id, task_run_id) "
            "SELECT gen_random_uuid(), 'of a run', 20, 'm', now() - interval '90 days', "
            f"CAST(a AS uuid), CAST(b AS uuid) FROM (VALUES ({columns})) v (a, b), "
            "generate_series(1, 50)",
            name,
        )
    at_the_swap(
        monkeypatch,
        doing(cluster, database, "UPDATE flow_run SET state_type = 'SCHEDULED'"),
    )
    outcome = purge(database)
    assert strategy(outcome) == "rewrite"
    left = "SELECT count(*) FROM log WHERE name = 'of a run'"
    assert cluster.execute(left, name) == [(100,)]
    assert outcome.report.deleted["log"] == ROWS - len(young)


def test_rows_with_infinite_dates_stay_or_go_like_any_other(
    cluster: Postgres, database: str, young: set[str]
) -> None:
    cluster.execute(
        "INSERT INTO log (id, name, level, message, timestamp) SELECT gen_random_uuid(), t, 20, "
        "'m', CAST(t AS timestamptz) FROM (VALUES ('infinity'), ('-infinity')) v (t), "
        "generate_series(1, 3)",
        name_of(database),
    )
    # Few enough are young for pieces by time.
    cluster.execute(
        "INSERT INTO log (id, name, level, message, timestamp) SELECT gen_random_uuid(), 'old', "
        "20, 'm', now() - interval '80 days' FROM generate_series(1, 9000)",
        name_of(database),
    )
    cluster.execute("ANALYZE log", name_of(database))
    assert strategy(purge(database)) == "rewrite"
    kept = "SELECT name, count(*) FROM log WHERE NOT isfinite(timestamp) GROUP BY 1"
    assert cluster.execute(kept, name_of(database)) == [("infinity", 3)]
    assert len(ids(cluster, database)) == len(young) + 3


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


def test_a_lock_on_the_old_table_takes_nothing_of_the_result_back(
    cluster: Postgres, database: str, young: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = rewrite._finished
    with session(cluster, database) as backup:

        def held(job: Any, names: Any, copied: int, locked: float) -> Any:
            backup.execute(f"LOCK TABLE {names.old} IN ACCESS SHARE MODE")
            return really(job, names, copied, locked)

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


@pytest.mark.parametrize("dead", ["count(*) FROM log__maintenance_old", "DROP TABLE"])
def test_a_session_that_ends_after_the_swap_takes_nothing_of_the_report_along(
    cluster: Postgres,
    database: str,
    young: set[str],
    dead: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really = Database._execute

    def deadly(self: Database, sql: str, values: Any) -> Any:
        if dead in sql and "maintenance_old" in sql:
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


def test_a_prepared_transaction_is_waited_for_and_named() -> None:
    from lab.server import migrate

    with Postgres(options={"max_prepared_transactions": "5"}) as alone:
        url = alone.create_database("two_phases")
        migrate(url)
        young = fill_logs(alone, url, ROWS)
        with session(alone, url) as cursor:
            cursor.execute(
                "INSERT INTO log (id, name, level, message, timestamp) "
                "VALUES (gen_random_uuid(), 'prepared', 20, 'm', now())"
            )
            cursor.execute("PREPARE TRANSACTION 'later'")
        outcome = purge(url, lock_timeout=0.5)
        assert any("a prepared transaction" in w for w in outcome.report.warnings)
        with session(alone, url) as cursor:
            cursor.connection.autocommit = True
            cursor.execute("COMMIT PREPARED 'later'")
        assert len(ids(alone, url)) == len(young) + 1
        assert debris(alone, url) == []


BENT = {
    "a table of the same name": (
        "CREATE TEMPORARY TABLE log__maintenance_changes (id uuid)",
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


def test_a_prepared_statement_of_a_reader_reads_on_in_the_new_table(
    cluster: Postgres, database: str, young: set[str]
) -> None:
    with session(cluster, database) as cursor:
        cursor.connection.autocommit = True
        cursor.execute("PREPARE seen AS SELECT count(*) FROM log")
        for _ in range(7):
            cursor.execute("EXECUTE seen")
        assert strategy(purge(database)) == "rewrite"
        cursor.execute("EXECUTE seen")
        assert cursor.fetchone() == (len(young),)


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
