"""What others do to a table while it is rewritten: no row lost, nothing of theirs undone."""

from __future__ import annotations

import pytest
from maintenance import FLOW, at_first_batch, name_of
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

pytestmark = pytest.mark.usefixtures("small_pieces")

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


@pytest.mark.parametrize(
    "happens",
    [
        "UPDATE flow_run SET state_type = 'SCHEDULED'",
        """UPDATE flow_run SET tags = '["keep"]', updated = now()""",
        """UPDATE deployment SET tags = '["hold:audit"]', updated = now()""",
    ],
    ids=["retried", "held", "held by its deployment"],
)
def test_a_run_that_comes_to_life_while_the_swap_waits_keeps_its_logs(
    cluster: Postgres, database: str, young: set[str], happens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = "55555555-5555-4555-8555-555555555555"
    run = "22222222-2222-4222-8222-222222222222"
    other = "33333333-3333-4333-8333-333333333333"
    task = "44444444-4444-4444-8444-444444444444"
    name = name_of(database)
    cluster.execute(
        "INSERT INTO deployment (id, flow_id, name, updated) "
        f"VALUES ('{deployment}', '{FLOW}', 'nightly', '2026-01-01')",
        name,
    )
    for row in (run, other):
        cluster.execute(
            "INSERT INTO flow_run (id, flow_id, deployment_id, name, state_type, end_time, updated)"
            f" VALUES ('{row}', '{FLOW}', '{deployment}', 'r', 'COMPLETED', now(), '2026-01-01')",
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
        doing(cluster, database, happens),
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
