"""What the project is measured against: the usual loop, VACUUM FULL, Prefect's own vacuum, a floor.

Each takes a database and a cutoff and returns the seconds that it took.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from lab.environments import prefect
from lab.postgres import PASSWORD, Postgres
from lab.server import asynchronous

# The age column of what is purged by age.
AGE = {"log": "timestamp", "events": "occurred", "event_resources": "occurred"}
_LOOP = "DELETE FROM {t} WHERE id IN (SELECT id FROM {t} WHERE {a} < %s LIMIT 10000)"
_BARE = (
    "DELETE FROM log WHERE flow_run_id = ANY(%s::uuid[])",
    "DELETE FROM flow_run WHERE id = ANY(%s::uuid[])",
)

Peer = Callable[[Postgres, str, datetime], dict[str, float]]


def loop(*tables: str) -> Peer:
    """Delete by the ids of any ten thousand old rows until none is left, then VACUUM FULL."""

    def run(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
        with closing(_connect(cluster, database)) as connection, connection.cursor() as cursor:
            deletion = reclaim = 0.0
            for table in tables:
                started = time.monotonic()
                sql = _LOOP.format(t=table, a=AGE[table])
                cursor.execute(sql, [cutoff])
                while cursor.rowcount:
                    cursor.execute(sql, [cutoff])
                deletion += time.monotonic() - started
                reclaim += _vacuum_full(cursor, table)
        return {"seconds": deletion + reclaim, "deletion s": deletion, "lock ms": 1000 * reclaim}

    return run


def vacuum_full(*tables: str) -> Peer:
    """Give space back and delete nothing."""

    def run(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
        with closing(_connect(cluster, database)) as connection, connection.cursor() as cursor:
            seconds = sum(_vacuum_full(cursor, table) for table in tables)
        return {"seconds": seconds, "lock ms": 1000 * seconds}

    return run


def floor(*tables: str) -> Peer:
    """Copy what stays, build its indexes, analyse it and drop the old table.

    Nobody who keeps rows and gives the space back can do with less.
    """

    def run(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
        with closing(_connect(cluster, database)) as connection, connection.cursor() as cursor:
            cursor.execute("SET maintenance_work_mem = '256MB'")
            started = time.monotonic()
            for table in tables:
                cursor.execute(
                    "SELECT indexdef FROM pg_indexes WHERE tablename = %s AND schemaname = "
                    "current_schema()", [table],
                )  # fmt: skip
                indexes = [row[0] for row in cursor.fetchall()]
                copy = f"{table}_copy"
                cursor.execute(
                    f"CREATE TABLE {copy} AS SELECT * FROM {table} WHERE {AGE[table]} >= %s",
                    [cutoff],
                )
                for number, index in enumerate(indexes):
                    head, _, rest = index.partition(" ON ")
                    kind = "CREATE UNIQUE INDEX" if "UNIQUE" in head else "CREATE INDEX"
                    using = rest.partition(" USING ")[2]
                    cursor.execute(f"{kind} copy_{table}_{number} ON {copy} USING {using}")
                cursor.execute(f"ANALYZE {copy}")
                cursor.execute(f"DROP TABLE {table}")
                cursor.execute(f"ALTER TABLE {copy} RENAME TO {table}")
            return {"seconds": time.monotonic() - started}

    return run


def bare_deletes(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
    """Delete runs and their logs two hundred at a time and ask nothing: no locks, no counts.

    Nobody who deletes them in one session can do with less: foreign keys take along what hangs on
    them, a trigger for each row.
    """
    with (
        closing(_connect(cluster, database)) as connection,
        connection.cursor() as reading,
        connection.cursor() as deleting,
    ):
        reading.execute("SET synchronous_commit = off")
        started = time.monotonic()
        old = "SELECT CAST(id AS text) FROM flow_run WHERE end_time < %s ORDER BY end_time"
        reading.execute(old, [cutoff])
        while ids := [row[0] for row in reading.fetchmany(200)]:
            for sql in _BARE:
                deleting.execute(sql, [ids])
        return {"seconds": time.monotonic() - started}


def prefects(what: str, batch: int) -> Peer:
    """Let the vacuum functions of an installed Prefect do it; the seconds leave out the import.

    Args:
        what: "logs", "events" or "runs".
        batch: PREFECT_SERVER_SERVICES_DB_VACUUM_BATCH_SIZE.
    """

    def run(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
        age = int((datetime.now(UTC) - cutoff).total_seconds())
        with tempfile.TemporaryDirectory(prefix="prefect-bench-home-") as home:
            done = subprocess.run(
                [prefect(), Path(__file__).with_name("prefect_vacuum.py"), what, str(batch),
                 cutoff.isoformat()],
                env={
                    **os.environ,
                    "PREFECT_HOME": home,
                    "PREFECT_LOGGING_LEVEL": "WARNING",
                    "PREFECT_API_DATABASE_CONNECTION_URL": asynchronous(cluster.url(database)),
                    "PREFECT_SERVER_SERVICES_DB_VACUUM_BATCH_SIZE": str(batch),
                    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"PT{age}S",
                    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{age}S",
                    "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": "{}",
                },
                capture_output=True, text=True,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"Prefect's vacuum failed: {done.stderr[-2000:]}")
        return {"seconds": float(done.stdout.splitlines()[-1])}

    return run


def _connect(cluster: Postgres, database: str) -> psycopg2.extensions.connection:
    connection = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user="postgres", password=PASSWORD, dbname=database
    )
    connection.autocommit = True
    return connection


def _vacuum_full(cursor: psycopg2.extensions.cursor, table: str) -> float:
    started = time.monotonic()
    cursor.execute(f"VACUUM (FULL, ANALYZE) {table}")
    return time.monotonic() - started
