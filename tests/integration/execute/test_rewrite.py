"""The online rewrite loses nothing, changes nothing else, and can be interrupted anywhere."""

from __future__ import annotations

import random
import threading
import uuid
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, fill, name_of, run_step
from prefect_maintenance.database.connection import Database
from prefect_maintenance.errors import ConnectionFailed, StepFailed
from rewriting import REWRITTEN, by_rewrite, debris, kept_by_deletes, schema
from world import dump

from lab.postgres import PASSWORD, Postgres

# Sessions are ended at so many statements apart; `make hostile` ends them at each.
EVERY = 7


def test_a_rewrite_leaves_the_same_rows_as_deletes_and_says_how_long_it_locked(
    cluster: Postgres, filled: str
) -> None:
    wanted = kept_by_deletes(cluster, filled)
    outcome = run_step("purge", by_rewrite(filled))
    assert dump(engine_for(filled), REWRITTEN) == wanted
    strategies = {t.name: t.strategy for t in outcome.report.tables}
    assert {strategies[table] for table in REWRITTEN} == {"rewrite"}
    assert outcome.report.warnings == ()
    assert debris(cluster, filled) == []
    assert not run_step("purge", by_rewrite(filled)).changed


def test_names_owner_rights_options_and_comments_are_as_before(
    cluster: Postgres, filled: str
) -> None:
    name = name_of(filled)
    for sql in (
        "CREATE ROLE reader_of_logs",
        "CREATE ROLE owner_of_logs",
        "GRANT SELECT ON log TO reader_of_logs WITH GRANT OPTION",
        "GRANT SELECT ON events TO PUBLIC",
        "ALTER TABLE log OWNER TO owner_of_logs",
        "ALTER TABLE log SET (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 90)",
        "ALTER TABLE log SET (toast.autovacuum_enabled = false)",
        "ALTER TABLE log ALTER COLUMN timestamp SET STATISTICS 500",
        "ALTER TABLE log ALTER COLUMN message SET STORAGE EXTERNAL",
        "ALTER TABLE log ALTER COLUMN flow_run_id SET (n_distinct = -0.05)",
        "COMMENT ON TABLE log IS 'it''s a \"log\": 100% \\ kept'",
        "COMMENT ON COLUMN log.message IS 'what was said'",
        "COMMENT ON INDEX ix_log__timestamp IS 'by time: used'",
        "CREATE INDEX mine ON log (level) WHERE level > 30",
    ):
        cluster.execute(sql, name)
    before = schema(cluster, filled)
    run_step("purge", by_rewrite(filled))
    assert schema(cluster, filled) == before
    for role in ("reader_of_logs", "owner_of_logs"):
        cluster.execute(f"REASSIGN OWNED BY {role} TO postgres", name)
        cluster.execute(f"DROP OWNED BY {role}", name)
        cluster.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("CREATE VIEW seen AS SELECT id FROM log", "a view stands on it"),
        ("CREATE TABLE other (log_id uuid REFERENCES log (id))", "a foreign key"),
        ("CREATE PUBLICATION p FOR TABLE log", "it is published"),
        ("CREATE TABLE child () INHERITS (log)", "partitioned or inherited"),
        ("ALTER TABLE log ENABLE ROW LEVEL SECURITY", "row security"),
        ("ALTER TABLE log REPLICA IDENTITY FULL", "replica identity"),
        ("GRANT SELECT (id) ON log TO PUBLIC", "rights on single columns"),
        ("CREATE STATISTICS s ON level, name FROM log", "extended statistics"),
        ("ALTER TABLE log ADD CONSTRAINT u UNIQUE (id, level)", "properties of its own"),
    ],
)
def test_what_a_swap_would_lose_is_refused_and_purged_by_deletes(
    cluster: Postgres, filled: str, made: str, why: str
) -> None:
    wanted = kept_by_deletes(cluster, filled)
    cluster.execute(made, name_of(filled))
    outcome = run_step("purge", by_rewrite(filled))
    assert any(why in warning for warning in outcome.report.warnings)
    strategies = {t.name: t.strategy for t in outcome.report.tables}
    assert strategies["log"].startswith("delete")
    assert strategies["events"] == "rewrite"
    assert dump(engine_for(filled), REWRITTEN) == wanted
    assert debris(cluster, filled) == []


def test_a_role_that_may_not_make_a_table_is_told_and_purges_by_deletes(
    cluster: Postgres, filled: str
) -> None:
    wanted, name = kept_by_deletes(cluster, filled), name_of(filled)
    cluster.execute("CREATE ROLE keeper LOGIN PASSWORD 'kept'")
    for sql in (
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO keeper",
        "ALTER TABLE log OWNER TO keeper",
    ):
        cluster.execute(sql, name)
    outcome = run_step("purge", by_rewrite(cluster.url(name, "keeper", "kept")))
    reasons = {t.name: t.strategy_why for t in outcome.report.tables}
    assert "lacks CREATE on the schema" in reasons["log"]
    assert "does not own it" in reasons["events"]
    assert dump(engine_for(filled), REWRITTEN) == wanted
    cluster.execute("DROP OWNED BY keeper CASCADE", name)
    cluster.execute("DROP ROLE keeper")


def test_every_row_that_others_write_meanwhile_is_right_afterwards(
    cluster: Postgres, database: str
) -> None:
    engine = engine_for(database)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log (id, name, level, message, timestamp) SELECT gen_random_uuid(), "
                "'l', 20, 'm', CASE WHEN n % 3 = 0 THEN now() ELSE now() - interval '90 days' END "
                "FROM generate_series(1, 60000) n"
            )
        )
        fresh = connection.execute(
            sa.text("SELECT CAST(id AS text) FROM log WHERE timestamp > now() - interval '1 day'")
        )
        expected = dict.fromkeys((row[0] for row in fresh), "m")
    done = threading.Event()
    moves = [0]

    def others() -> None:
        chance = random.Random(1)
        known = list(expected)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not done.is_set():
                move, target = chance.randint(0, 2), chance.choice(known)
                if move == 0:
                    target = str(uuid.uuid4())
                    sql = (
                        "INSERT INTO log (id, name, level, message, timestamp) "
                        "VALUES (CAST(:id AS uuid), 'l', 20, 'new', now())"
                    )
                    expected[target] = "new"
                    known.append(target)
                elif move == 1:
                    sql = "UPDATE log SET message = 'changed' WHERE id = CAST(:id AS uuid)"
                    if target in expected:
                        expected[target] = "changed"
                else:
                    sql = "DELETE FROM log WHERE id = CAST(:id AS uuid)"
                    expected.pop(target, None)
                connection.execute(sa.text(sql), {"id": target})
                moves[0] += 1

    busy = threading.Thread(target=others)
    busy.start()
    try:
        outcome = run_step("purge", {"db_url": database, "purge_strategy": "rewrite"})
    finally:
        done.set()
        busy.join()
    log = next(t for t in outcome.report.tables if t.name == "log")
    assert (log.strategy, outcome.report.warnings) == ("rewrite", ())
    assert moves[0] > 100
    found = dump(engine, ["log"])["log"]
    assert {row: columns["message"] for row, columns in found.items()} == expected


def test_an_interruption_at_many_statements_leaves_every_row_and_the_next_run_finishes(
    cluster: Postgres, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All tables go the same way; one of them is enough, and quicker.
    cluster.execute("TRUNCATE events, event_resources", name_of(filled))
    wanted = kept_by_deletes(cluster, filled)
    before = dump(engine_for(filled), REWRITTEN)
    really = Database._execute
    statements = [0]
    deadly = [0]

    def perhaps_deadly(self: Database, sql: str, values: Any) -> Any:
        statements[0] += 1
        if statements[0] == deadly[0]:
            pid = self.connection.connection.driver_connection.get_backend_pid()  # type: ignore[union-attr]
            cluster.execute("SELECT pg_terminate_backend(%s, 5000)", values=[pid])
        return really(self, sql, values)

    monkeypatch.setattr(Database, "_execute", perhaps_deadly)
    interrupted = 0
    for deadly[0] in range(1, 2000, EVERY):
        trial = cluster.create_database(f"k_{uuid.uuid4().hex[:12]}", name_of(filled))
        statements[0] = 0
        try:
            run_step("purge", by_rewrite(trial))
        except (ConnectionFailed, StepFailed):
            interrupted += 1
        else:
            cluster.drop_database(name_of(trial))
            break
        deadly_now, deadly[0] = deadly[0], 0
        engine = engine_for(trial)
        left = dump(engine, REWRITTEN)
        for table in REWRITTEN:
            assert set(wanted[table]) <= set(left[table]) <= set(before[table]), deadly_now
        run_step("purge", by_rewrite(trial))
        assert dump(engine, REWRITTEN) == wanted, deadly_now
        assert debris(cluster, trial) == [], deadly_now
        engine.dispose()
        cluster.drop_database(name_of(trial))
    assert interrupted > 50 // EVERY


def test_a_server_restart_in_the_middle_is_survived() -> None:
    from lab.server import migrate

    with Postgres() as alone:
        url = alone.create_database("restarted")
        migrate(url)
        engine = engine_for(url)
        fill(engine, seed=11)
        wanted = kept_by_deletes(alone, url)
        really = Database._execute

        def restarting(self: Database, sql: str, values: Any) -> Any:
            if sql.startswith("VACUUM (FREEZE"):
                alone.stop("immediate")
                alone.start()
            return really(self, sql, values)

        patch = pytest.MonkeyPatch()
        patch.setattr(Database, "_execute", restarting)
        with patch.context(), pytest.raises((ConnectionFailed, StepFailed)):
            run_step("purge", by_rewrite(url))
        patch.undo()
        run_step("purge", by_rewrite(url))
        assert dump(engine, REWRITTEN) == wanted
        assert debris(alone, url) == []
        engine.dispose()


def test_the_lock_is_short_under_a_stream_of_inserts(cluster: Postgres, database: str) -> None:
    engine = engine_for(database)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log (id, name, level, message, timestamp) SELECT gen_random_uuid(), "
                "'l', 20, 'm', now() - interval '90 days' FROM generate_series(1, 100000) n"
            )
        )
    done = threading.Event()
    failures: list[Exception] = []
    written = [0]

    def stream() -> None:
        connection = psycopg2.connect(
            host="127.0.0.1", port=cluster.port, user="postgres", password=PASSWORD,
            dbname=name_of(database),
        )  # fmt: skip
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not done.wait(0.01):
                try:
                    cursor.execute(
                        "INSERT INTO log (id, name, level, message, timestamp) SELECT "
                        "gen_random_uuid(), 'new', 20, 'm', now() FROM generate_series(1, 10)"
                    )
                    written[0] += 10
                except psycopg2.Error as error:
                    failures.append(error)
        connection.close()

    writer = threading.Thread(target=stream)
    writer.start()
    try:
        outcome = run_step("purge", {"db_url": database, "purge_strategy": "rewrite"})
    finally:
        done.set()
        writer.join()
    assert failures == []
    assert len(dump(engine, ["log"])["log"]) == written[0]
    log = next(t for t in outcome.report.tables if t.name == "log")
    assert 0 < log.lock_ms_max < 1000
