"""Purge and shrink `log` where nine of ten rows go: the project against the usual loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg2
from prefect_maintenance.pace import Pace
from prefect_maintenance.settings import Settings
from prefect_maintenance.steps import STEPS

from lab.postgres import PASSWORD, Postgres
from lab.server import migrate

from .backlog import DAYS, Size, fill
from .measure import Trial

LOOP = "DELETE FROM log WHERE id IN (SELECT id FROM log WHERE timestamp < %s LIMIT 10000)"
# As on a production server with some memory; the log fits into it at the documented size.
SERVER = {"shared_buffers": "1GB", "max_wal_size": "8GB", "maintenance_work_mem": "256MB"}

Contender = Callable[[Postgres, str, datetime], dict[str, float]]


def run(rows: int, repetitions: int, gone: float = 0.9) -> list[Trial]:
    """Measure each contender on identical copies of one database, in turns.

    Args:
        rows: of the table `log`.
        repetitions: of each contender.
        gone: share of the rows that go.
    """
    now = datetime.now(UTC)
    cutoff = now - timedelta(days=DAYS * (1 - gone))
    trials = []
    with Postgres(options=SERVER, durable=True) as cluster:
        migrate(cluster.create_database("filled"))
        fill(cluster, "filled", Size(logs=rows, runs=max(1, rows // 100)))
        for _ in range(repetitions):
            for name, contender in CONTENDERS.items():
                cluster.create_database("trial", "filled")
                cluster.execute("CHECKPOINT")
                before = cluster.execute("SELECT pg_current_wal_lsn()")[0][0]
                figures = contender(cluster, "trial", cutoff)
                wal = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)"
                figures["WAL MiB"] = float(cluster.execute(wal, values=[before])[0][0]) / 2**20
                size = "SELECT pg_total_relation_size('log')"
                figures["final MiB"] = cluster.execute(size, "trial")[0][0] / 2**20
                trials.append(Trial(name, figures))
                cluster.drop_database("trial")
    return trials


def project(
    cluster: Postgres, database: str, cutoff: datetime, strategy: str = "delete"
) -> dict[str, float]:
    """Purge and reclaim with the engine, plan included."""
    asked = {
        "db_url": cluster.url(database),
        "purge_strategy": strategy,
        "retention_days": 1,
        "reference_time": (cutoff + timedelta(days=1)).isoformat(),
    }
    started = time.monotonic()
    outcome = STEPS["purge"](Settings.parse(asked, check=False), Pace())
    purged = time.monotonic()
    asked["report"] = outcome.report.as_json()
    STEPS["vacuum"](Settings.parse(asked, check=False), Pace())
    return _figures(started, purged, time.monotonic())


def loop(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
    """Delete by ids of any ten thousand old rows until none is left, then VACUUM FULL."""
    connection = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user="postgres", password=PASSWORD, dbname=database
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        started = time.monotonic()
        cursor.execute(LOOP, [cutoff])
        while cursor.rowcount:
            cursor.execute(LOOP, [cutoff])
        purged = time.monotonic()
        cursor.execute("VACUUM (FULL, ANALYZE) log")
        ended = time.monotonic()
    connection.close()
    return _figures(started, purged, ended)


CONTENDERS: dict[str, Contender] = {
    "project": project,
    "project, rewrite": partial(project, strategy="rewrite"),
    "usual loop": loop,
}


def _figures(started: float, purged: float, ended: float) -> dict[str, float]:
    return {"total s": ended - started, "deletion s": purged - started, "reclaim s": ended - purged}
