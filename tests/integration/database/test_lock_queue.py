"""Nobody queues behind a maintenance that waits for a strong lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, run_step
from prefect_maintenance.errors import StepFailed

from lab.postgres import PASSWORD, Postgres

BLOATED = (
    "INSERT INTO log (id, name, level, message, timestamp) "
    "SELECT gen_random_uuid(), 'l', 20, repeat('m', 200), now() FROM generate_series(1, 20000) n",
    "DELETE FROM log WHERE id > '10000000-0000-4000-8000-000000000000'",
)


def name_of(url: str) -> str:
    return url.rsplit("/", 1)[1]


def full(url: str, **more: Any) -> dict[str, Any]:
    asked = {"vacuum": "full", "vacuum_min_bytes": 0, "vacuum_min_percent": 1}
    return {"db_url": url, **asked, **more}


@pytest.fixture
def bloated(database: str) -> str:
    """A database whose logs are mostly holes."""
    engine = engine_for(database)
    clear(engine)
    for sql in BLOATED:
        with engine.begin() as connection:
            connection.execute(sa.text(sql))
    return database


@contextmanager
def reader(cluster: Postgres, url: str) -> Iterator[Any]:
    """A transaction that has read the logs, and is still open."""
    connection = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user="postgres", password=PASSWORD,
        dbname=name_of(url), application_name="a long report",
    )  # fmt: skip
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM log")
        yield connection
    finally:
        connection.close()


def wait_for(cluster: Postgres, url: str, sql: str) -> None:
    while not cluster.execute(sql, name_of(url))[0][0]:
        time.sleep(0.005)


ASKING = """
SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND l.relation = 'log'::regclass AND l.mode = 'AccessExclusiveLock'
  AND a.application_name LIKE 'prefect-maintenance%'
"""


def readers_pass(cluster: Postgres, url: str) -> None:
    """Read the logs while a strong lock on them is asked for and somebody else holds them.

    A reader that queued behind the question until the holder goes would be cancelled.
    """
    for _ in range(3):
        wait_for(cluster, url, ASKING)
        cluster.execute("SET statement_timeout = '5s'; SELECT count(*) FROM log", name_of(url))


def test_readers_pass_a_vacuum_full_that_waits_and_it_happens_when_the_holder_goes(
    cluster: Postgres, bloated: str
) -> None:
    ended: list[Any] = []
    job = threading.Thread(
        target=lambda: ended.append(run_step("vacuum", full(bloated, lock_timeout=60)))
    )
    with reader(cluster, bloated):
        job.start()
        readers_pass(cluster, bloated)
        assert not ended
    job.join()
    log = next(t for t in ended[0].report.tables if t.name == "log")
    assert (log.reclaim, ended[0].changed) == ("full", True)
    assert (log.bytes_after or 0) < (log.bytes_after_delete or 0) / 2


def test_a_vacuum_full_that_gets_no_lock_says_who_holds_it_and_keeps_its_patience(
    cluster: Postgres, bloated: str
) -> None:
    with reader(cluster, bloated), pytest.raises(StepFailed) as failed:
        run_step("vacuum", full(bloated, lock_timeout=0.3))
    assert "log could not be had in 0.3 s: held by a long report as postgres" in str(failed.value)
    assert run_step("vacuum", full(bloated)).changed
