"""A rewrite that others disturb: logs to purge, what others do meanwhile, what is left."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg2
import pytest
from maintenance import clear, engine_for, name_of, request, run_step, table, wait_until
from prefect_maintenance.database.table_guard import Guard
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.run.outcome import Outcome
from world import Dump, dump

from lab.postgres import PASSWORD, Postgres

REWRITTEN = ("log", "events", "event_resources")
LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, repeat('m', 200),
       CASE WHEN n % 3 = 0 THEN now() ELSE now() - interval '90 days' END
FROM generate_series(1, {rows}) n
"""
# How many of them the fixture `young` leaves.
ROWS = 6000

by_rewrite = partial(request, purge_strategy="rewrite")


def purge(url: str, pace: Pace | None = None, **more: Any) -> Outcome:
    """Purge a database by rewrites, as of now."""
    return run_step("purge", {"db_url": url, "purge_strategy": "rewrite", **more}, pace=pace)


def fill_logs(cluster: Postgres, url: str, rows: int) -> set[str]:
    """Leave so many logs in a database, a third of them young; returns the ids of those."""
    engine = engine_for(url)
    clear(engine)
    engine.dispose()
    cluster.execute(LOGS.format(rows=rows), name_of(url))
    cluster.execute("ANALYZE log", name_of(url))
    young = "SELECT CAST(id AS text) FROM log WHERE timestamp > now() - interval '1 day'"
    return {row[0] for row in cluster.execute(young, name_of(url))}


def ids(cluster: Postgres, url: str) -> list[str]:
    """Return the ids of the logs that are there."""
    return [row[0] for row in cluster.execute("SELECT CAST(id AS text) FROM log", name_of(url))]


def kept_by_deletes(cluster: Postgres, url: str) -> Dump:
    """Say what a purge by deletes leaves, on a copy of the database."""
    copy = cluster.create_database(f"c_{uuid.uuid4().hex[:12]}", name_of(url))
    run_step("purge", request(copy, purge_strategy="delete"))
    engine = engine_for(copy)
    left = dump(engine, REWRITTEN)
    engine.dispose()
    cluster.drop_database(name_of(copy))
    return left


def schema(cluster: Postgres, url: str) -> list[str]:
    """Return the lines of pg_dump -s, in an order that does not depend on object ids."""
    done = subprocess.run(
        [cluster.program("pg_dump"), "-s", "-h", "127.0.0.1", "-p", str(cluster.port),
         "-U", "postgres", name_of(url)],
        env={"PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    # Newer versions put a random word around the dump.
    return sorted(line for line in done.stdout.splitlines() if "restrict " not in line)


def strategy(outcome: Outcome, name: str = "log") -> str:
    """Say how the rows of a table went."""
    return str(table(outcome, name).strategy)


def debris(cluster: Postgres, url: str) -> list[Any]:
    """Return the names of what rewrites have left beside the tables."""
    return cluster.execute(
        # The temporary tables of a crashed session are PostgreSQL's own to remove.
        "SELECT relname FROM pg_class "
        "WHERE relname LIKE '%maintenance%' AND relpersistence <> 't' "
        "UNION SELECT proname FROM pg_proc WHERE proname LIKE '%maintenance%' "
        "UNION SELECT tgname FROM pg_trigger WHERE tgname LIKE '%maintenance%'",
        name_of(url),
    )


def at_the_swap(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something once, right before the lock of the swap is asked for."""
    really = Guard.lock
    done: list[bool] = []

    def acting(self: Guard, mode: str) -> None:
        if not done:
            done.append(True)
            act()
        really(self, mode)

    monkeypatch.setattr(Guard, "lock", acting)


def doing(cluster: Postgres, url: str, sql: str) -> Callable[[], None]:
    """Return what carries out a statement of somebody else's, who does not wait for ever."""

    def act() -> None:
        with session(cluster, url) as cursor:
            cursor.connection.autocommit = True
            cursor.execute("SET lock_timeout = '20s'")
            cursor.execute(sql)

    return act


@contextmanager
def session(cluster: Postgres, url: str, **more: str) -> Iterator[Any]:
    """A session of somebody else; what it begins is rolled back at the end."""
    who: dict[str, Any] = {"user": "postgres", "password": PASSWORD, **more}
    connection = psycopg2.connect(host="127.0.0.1", port=cluster.port, dbname=name_of(url), **who)
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@contextmanager
def reader(cluster: Postgres, url: str) -> Iterator[Any]:
    """A transaction that has read the logs, and is still open."""
    with session(cluster, url, application_name="a long report") as cursor:
        cursor.execute("SELECT count(*) FROM log")
        yield cursor.connection


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
        wait_until(lambda: cluster.execute(ASKING, name_of(url))[0][0])
        cluster.execute("SET statement_timeout = '5s'; SELECT count(*) FROM log", name_of(url))
