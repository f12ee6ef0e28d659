"""Compaction beside VACUUM FULL on the tables that others refer to, under somebody's eyes.

Of a family of flow runs, states and task runs nine in ten go; then the space of each table is given
back in both ways, one after the other, on copies of the same database, while three clients insert,
update and read. Prints medians, spread, and which of the goals are met.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Event, Process, Queue
from multiprocessing.synchronize import Event as Flag

import psycopg2
from prefect_maintenance.database.connection import connect
from prefect_maintenance.execute.compact import Compaction, compact
from prefect_maintenance.pace.pace import Pace

from lab import end_orderly
from lab.family import TABLES, fill
from lab.postgres import PASSWORD, Postgres
from lab.server import migrate

from . import goals
from .goals import Goal, ratios
from .measure import Trial, machine, table

FULL, COMPACT = "VACUUM FULL", "compact"
_TEMPLATE = "template"
_OPTIONS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "autovacuum": "off"}
# What each client does; all of it on rows of its own at the end of the table.
_CLIENTS = {
    "insert": "INSERT INTO {table} SELECT (jsonb_populate_record(x, "
    "jsonb_build_object('id', gen_random_uuid(), 'timestamp', clock_timestamp(), "
    "'dynamic_key', gen_random_uuid()))).* FROM {table} x WHERE id = %(id)s",
    "update": "UPDATE {table} SET updated = now() WHERE id = %(id)s",
    "select": "SELECT * FROM {table} WHERE id = %(id)s",
}
_PROBED = "SELECT id::text FROM {table} ORDER BY ctid DESC LIMIT 300"
_EVERY = 0.01
# Seconds after which a client that says nothing is given up.
_LIMIT = 60


@dataclass
class Watch:
    """The longest that each client waited, and the most disk that was used."""

    longest: dict[str, float] = field(default_factory=dict)
    disk: float = 0.0


@contextmanager
def watched(cluster: Postgres, database: str, probed: str) -> Iterator[Watch]:
    """Let clients work on a table and measure the database until the end of the block."""
    over, queue = Event(), Queue()  # type: ignore[var-annotated]
    ids = [row[0] for row in cluster.execute(_PROBED.format(table=probed), database)]
    workers = [
        Process(
            target=_client,
            args=(cluster.port, database, kind, sql.format(table=probed), ids, over, queue),
        )
        for kind, sql in _CLIENTS.items()
    ]
    workers.append(Process(target=_disk, args=(cluster.port, database, over, queue)))
    for worker in workers:
        worker.start()
    for _ in workers:
        queue.get(timeout=_LIMIT)
    found = Watch()
    try:
        yield found
    finally:
        over.set()
        for _ in workers:
            kind, value = queue.get(timeout=_LIMIT)
            if kind == "disk":
                found.disk = value
            else:
                found.longest[kind] = value
        for worker in workers:
            worker.join()


def _session(port: int, database: str) -> psycopg2.extensions.connection:
    opened = psycopg2.connect(
        host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname=database
    )
    opened.autocommit = True
    return opened


def _client(
    port: int,
    database: str,
    kind: str,
    sql: str,
    ids: list[str],
    over: Flag,
    queue: Queue,  # type: ignore[type-arg]
) -> None:
    opened, longest, number = _session(port, database), 0.0, 0
    with opened.cursor() as cursor:
        cursor.execute(sql, {"id": ids[0]})
        queue.put(kind)
        began = time.monotonic()
        while not over.is_set():
            due = began + _EVERY * number
            time.sleep(max(0.0, due - time.monotonic()))
            asked = time.monotonic()
            cursor.execute(sql, {"id": ids[number % len(ids)]})
            longest = max(longest, time.monotonic() - asked)
            number += 1
            began = max(began, time.monotonic() - _EVERY * number)
    opened.close()
    queue.put((kind, 1000 * longest))


def _size(cursor: psycopg2.extensions.cursor) -> int:
    cursor.execute("SELECT pg_database_size(current_database())")
    return int(cursor.fetchall()[0][0])


def _disk(port: int, database: str, over: Flag, queue: Queue) -> None:  # type: ignore[type-arg]
    """Note by how much the database was larger than when it began, at most."""
    opened, most = _session(port, database), 0
    with opened.cursor() as cursor:
        before = most = _size(cursor)
        queue.put("disk")
        while not over.wait(0.02):
            most = max(most, _size(cursor))
    opened.close()
    queue.put(("disk", (most - before) / 2**20))


def trial(cluster: Postgres, template: str, way: str, name: str) -> Trial:
    """Give the space of one table back in one way, on a copy of the database."""
    url = cluster.create_database("trial", template)
    cluster.execute("CHECKPOINT")
    size = partial(cluster.execute, f"SELECT pg_total_relation_size('{name}')", "trial")
    written = partial(cluster.execute, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    with watched(cluster, "trial", name) as watch:
        began, wal = time.monotonic(), written()[0][0]
        if way == FULL:
            cluster.execute(f"VACUUM (FULL, ANALYZE) {name}", "trial")
            locked = time.monotonic() - began
        else:
            with connect(url, 5.0) as database:
                done = compact(Compaction(database, name, 5.0, Pace()))
            locked = done.locked
            for warning in done.warnings:
                print(f"  {name}: {warning}")
        seconds, wal = time.monotonic() - began, written()[0][0] - wal
    after = size()[0][0]
    # Who takes longer has more rows that came meanwhile: each is compared with its own rows.
    cluster.execute(f"VACUUM FULL {name}", "trial")
    figures = {
        "s": seconds,
        "MB after": after / 2**20,
        "x densest": after / size()[0][0],
        "WAL MB": float(wal) / 2**20,
        "extra MB": watch.disk,
        "lock ms": 1000 * locked,
        **{f"longest {kind} ms": value for kind, value in watch.longest.items()},
    }
    cluster.drop_database("trial")
    return Trial(way, figures)


def goals_of(name: str, trials: list[Trial]) -> list[Goal]:
    """Return the goals for a table."""
    longest = [
        max(trial.figures[f"longest {kind} ms"] for kind in _CLIENTS)
        for trial in trials
        if trial.contender == COMPACT
    ]
    extra = ratios(
        [Trial(t.contender, {"MB": t.figures["extra MB" if t.contender == COMPACT else "MB after"]})
         for t in trials],
        COMPACT, FULL, "MB",
    )  # fmt: skip
    each = "each row that moves gets a new entry in every index, and each index is built anew"
    nulls = "a unique index built anew by itself merges no equal entries (rows without a key)"
    beside = "the largest index, which is built beside the old one, and the rows that clients write"
    looks = "VACUUM looks for 20 ms at the empty end, 0.7 GB in memory, and cuts that off at once"
    return [
        goals.times_of(f"{name}: time, of VACUUM FULL's", trials, FULL, 4, other=COMPACT,
                       figure="s", bound=each),
        goals.at_most(f"{name}: size, of what VACUUM FULL leaves", trials, COMPACT, "x densest",
                      1.05, "times", nulls),
        Goal(f"{name}: extra disk, of what is kept", 0.15, extra, "times", most=True, bound=beside),
        goals.at_most(f"{name}: longest exclusive lock", trials, COMPACT, "lock ms", 100, "ms",
                      looks),
        Goal(f"{name}: longest statement of a client", 100, tuple(longest), "ms", most=True,
             bound=f"{looks}; the processors, when others are at work"),
    ]  # fmt: skip


@contextmanager
def staged(runs: int, *, scattered: bool = False) -> Iterator[Postgres]:
    """Start a server with the family of so many runs, of which nine in ten are gone."""
    with Postgres(options=_OPTIONS, durable=True) as cluster:
        migrate(cluster.create_database(_TEMPLATE))
        fill(cluster, _TEMPLATE, runs, scattered=scattered)
        yield cluster


def trials_of(cluster: Postgres, name: str, repeat: int) -> list[Trial]:
    """Give the space of one table back in both ways, in turn."""
    return [trial(cluster, _TEMPLATE, way, name) for _ in range(repeat) for way in (FULL, COMPACT)]


def main() -> None:
    """Measure what the arguments name."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=20_000)
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--table", action="append", choices=TABLES, help="all")
    options.add_argument("--scattered", action="store_true", help="nine in ten rows of each page")
    asked = options.parse_args()
    end_orderly()
    with staged(asked.runs, scattered=asked.scattered) as cluster:
        print(f"PostgreSQL {cluster.version}, {machine()}")
        told: list[Goal] = []
        for name in asked.table or TABLES:
            trials = trials_of(cluster, name, asked.repeat)
            print(f"\n{name}, {asked.runs} runs of which 90 % are gone\n")
            print("\n".join(table(trials, FULL)), flush=True)
            told += goals_of(name, trials)
        print("\n" + "\n".join(goals.table(told)))


if __name__ == "__main__":
    main()
