"""A live server's writing and reading while somebody else works: latency as requests feel it.

Every request has its time; one that begins late because the one before was slow counts from when
it was due, so a stall is not hidden by the requests that it kept from being made.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Event, Process, Queue
from multiprocessing.synchronize import Event as Flag

import psycopg2

from lab.postgres import PASSWORD, Postgres

# Twenty times a second somebody writes, and as often somebody looks.
_EVERY = 0.05
_READ = """
SELECT * FROM log WHERE flow_run_id = md5('r' || %s)::uuid ORDER BY timestamp DESC LIMIT 200
"""


@dataclass(frozen=True)
class Write:
    """What is written each time, and how many logs named "live" that adds."""

    sql: str
    rows: int


# As fifty busy flows log.
LOGS = Write(
    """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'live', 20, 'a line that is written meanwhile', now()
FROM generate_series(1, 50)
""",
    50,
)


@dataclass
class Latencies:
    """Milliseconds of each request, and what was written, once the load has ended."""

    written: Write
    write: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def rows(self) -> int:
        """Rows that were written."""
        return self.written.rows * len(self.write)

    def figures(self) -> dict[str, float]:
        """Return the percentiles that people feel."""
        return {
            "write p50 ms": statistics.median(self.write),
            "write p99 ms": statistics.quantiles(self.write, n=100, method="inclusive")[-1],
            "write max ms": max(self.write),
            "read p99 ms": statistics.quantiles(self.read, n=100, method="inclusive")[-1],
            "read max ms": max(self.read),
        }


@contextmanager
def load(cluster: Postgres, database: str, runs: int, written: Write = LOGS) -> Iterator[Latencies]:
    """Write and read until the end of the block; the latencies are there afterwards."""
    over, queue = Event(), Queue()  # type: ignore[var-annotated]
    found = Latencies(written)
    workers = [
        Process(target=_client, args=(cluster.port, database, sql, runs, over, queue))
        for sql in (written.sql, _READ)
    ]
    for worker in workers:
        worker.start()
    # Both are at work before what is measured begins.
    for _ in workers:
        queue.get()
    time.sleep(0.5)
    try:
        yield found
    finally:
        over.set()
        for _ in workers:
            kind, latencies, errors = queue.get()
            setattr(found, kind, latencies)
            found.errors += errors
        for worker in workers:
            worker.join()


def _client(port: int, database: str, sql: str, runs: int, over: Flag, queue: Queue) -> None:  # type: ignore[type-arg]
    kind = "read" if sql == _READ else "write"
    connection = psycopg2.connect(
        host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname=database
    )
    connection.autocommit = True
    latencies: list[float] = []
    errors = 0
    with connection.cursor() as cursor:
        act: Callable[[int], None] = (
            (lambda _: cursor.execute(sql))
            if kind == "write"
            else (lambda n: cursor.execute(sql, [1 + n % runs]))
        )
        act(0)
        queue.put(kind)
        began = time.monotonic()
        while not over.is_set():
            due = began + _EVERY * len(latencies)
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                act(len(latencies))
            except psycopg2.Error:
                errors += 1
            latencies.append(1000 * (time.monotonic() - due))
    connection.close()
    queue.put((kind, latencies, errors))
