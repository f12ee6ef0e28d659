"""What a role, a database or a server sets for its sessions never reaches a maintenance run."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, name_of, run_step
from prefect_maintenance.database.connection import connect
from prefect_maintenance.errors import ConnectionFailed, MaintenanceError
from world import dump

from lab.postgres import Postgres

LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, 'm',
       CASE WHEN n % 3 = 0 THEN now() ELSE now() - interval '90 days' END
FROM generate_series(1, 60000) n
"""
WRITTEN = """
INSERT INTO log (id, name, level, message, timestamp)
VALUES (CAST(:id AS uuid), 'l', 20, 'new', now())
"""


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_rewrite_loses_no_row_of_a_writer_whatever_isolation_is_the_default(
    cluster: Postgres, database: str, level: str
) -> None:
    engine = engine_for(database)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(LOGS))
        young = connection.execute(
            sa.text("SELECT CAST(id AS text) FROM log WHERE timestamp > now() - interval '1 day'")
        )
        expected = {row[0] for row in young}
    cluster.execute(
        f"ALTER DATABASE \"{name_of(database)}\" SET default_transaction_isolation = '{level}'"
    )
    done = threading.Event()

    def write() -> None:
        autocommit = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with autocommit as connection:
            while not done.is_set():
                row = str(uuid.uuid4())
                connection.execute(sa.text(WRITTEN), {"id": row})
                expected.add(row)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        outcome = run_step("purge", {"db_url": database, "purge_strategy": "rewrite"})
    finally:
        done.set()
        for writer in writers:
            writer.join()
    log = next(t for t in outcome.report.tables if t.name == "log")
    assert (log.strategy, outcome.report.warnings) == ("rewrite", ())
    assert set(dump(engine, ["log"])["log"]) == expected


def test_every_statement_is_read_committed_whatever_the_database_says(
    cluster: Postgres, database: str
) -> None:
    for setting in ("isolation = 'serializable'", "deferrable = on"):
        cluster.execute(f'ALTER DATABASE "{name_of(database)}" SET default_transaction_{setting}')
    level = "SELECT current_setting('transaction_isolation')"
    with connect(database, 5) as opened:
        assert opened.scalar(level) == "read committed"
        assert opened.scalar("SHOW transaction_deferrable") == "off"
        opened.run("SET default_transaction_isolation = 'serializable'")
        with opened.transaction():
            assert opened.scalar(level) == "read committed"
        with opened.snapshot():
            assert opened.scalar(level) == "repeatable read"


def test_a_statement_is_carried_out_as_it_stands(database: str) -> None:
    said = "100 % of :this, %s and %(that)s"
    with connect(database, 5) as opened:
        opened.ddl(f"COMMENT ON TABLE log IS '{said}'")
        assert opened.scalar("SELECT obj_description(to_regclass('log'))") == said
        with pytest.raises(MaintenanceError, match="does not exist"):
            opened.ddl("DROP TABLE nothing_of_that_name")


IDLE = """
SELECT state FROM pg_stat_activity
WHERE datname = %s AND application_name LIKE 'prefect-maintenance%%'
  AND clock_timestamp() - state_change > interval '0.5 s'
"""


def idle_for_long(cluster: Postgres, url: str) -> str:
    """Wait until the session is idle for longer than every limit; empty when it was ended."""
    while True:
        there = cluster.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = %s "
            "AND application_name LIKE 'prefect-maintenance%%'",
            values=[name_of(url)],
        )
        if not there:
            return ""
        found = cluster.execute(IDLE, values=[name_of(url)])
        if found:
            return str(found[0][0])
        time.sleep(0.05)


def test_no_session_limit_of_a_database_ends_a_session_of_ours(
    cluster: Postgres, database: str
) -> None:
    version = int(cluster.execute("SHOW server_version_num")[0][0])
    limits = ["statement_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout"]
    limits += ["transaction_timeout"] if version >= 170000 else []
    for limit in (*limits, "lock_timeout"):
        cluster.execute(f"ALTER DATABASE \"{name_of(database)}\" SET {limit} = '200ms'")
    with connect(database, 5) as opened:
        assert opened.scalar("SHOW lock_timeout") == "5s"
        assert idle_for_long(cluster, database) == "idle"
        with opened.transaction():
            opened.scalar("SELECT 1")
            assert idle_for_long(cluster, database) == "idle in transaction"
            opened.scalar("SELECT pg_sleep(0.3)")
        assert opened.scalar("SELECT 1") == 1


def test_a_session_that_is_lost_is_told_as_that_whatever_is_asked_of_it(
    cluster: Postgres, database: str
) -> None:
    with connect(database, 5.0) as lost:
        pid = lost.scalar("SELECT pg_backend_pid()")
        cluster.execute("SELECT pg_terminate_backend(%s)", values=(pid,))
        for ask in (
            lambda: lost.run("SELECT 1"),
            lambda: lost.run("SELECT 1"),
            lambda: lost.driver,
        ):
            with pytest.raises(ConnectionFailed):
                ask()
