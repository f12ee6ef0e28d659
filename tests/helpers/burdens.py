"""A server that is made to bear something, and a pace in which somebody ends that on a wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from prefect_maintenance.database.connection import connect
from prefect_maintenance.events import Event, Events, Progress, Waiting
from prefect_maintenance.measure.load_reader import LoadReader
from prefect_maintenance.pace.pace import Pace

from lab.postgres import PASSWORD, Postgres

WRITE = "SELECT pg_logical_emit_message(true, 'lab', repeat('x', 1000000))"
SWITCH = "SELECT pg_switch_wal()"


def configure(cluster: Postgres, **settings: str) -> None:
    """Change settings of a server that is at work."""
    for name, value in settings.items():
        cluster.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    cluster.execute("SELECT pg_reload_conf()")


def write_segments(cluster: Postgres, database: str) -> None:
    """Fill three segments of WAL."""
    for _ in range(3):
        cluster.execute(WRITE, database)
        cluster.execute(SWITCH)


@contextmanager
def helped(
    kind: str, why: str, help_it: Callable[[], object], begin: Callable[[], object] | None = None
) -> Iterator[Pace]:
    """Lend a pace in which somebody makes trouble after the first batch, and ends it on a wait.

    The work must wait, for this kind and with these words, and the report has the seconds.
    """
    waits: list[Waiting] = []
    begun: list[Progress] = []

    def listen(event: Event) -> None:
        if begin and isinstance(event, Progress) and event.table == "log" and not begun:
            if event.unit == "rows":
                begun.append(event)
                begin()
        elif isinstance(event, Waiting) and event.kind == kind:
            waits.append(event)
            if len(waits) == 1:
                help_it()

    pace = Pace(Events(listen))
    yield pace
    assert waits, f"the work did not wait for {kind}"
    assert why in waits[0].why
    assert pace.events.waited[kind] == pytest.approx(sum(event.seconds for event in waits))


@contextmanager
def at_work(cluster: Postgres, database: str) -> Iterator[None]:
    """Keep a session of the database at work until the end of the block."""
    session: Any = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user="postgres", password=PASSWORD, dbname=database
    )
    with ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(session.cursor().execute, "SELECT pg_sleep(3600)")
        yield
        session.cancel()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            sleeping.result()
    session.close()


@contextmanager
def reading(url: str) -> Iterator[tuple[LoadReader, list[str]]]:
    """Lend a reader of a server's load, and what it warns of."""
    told: list[str] = []
    with connect(url, 5.0) as database:
        reader = LoadReader(database, told.append)
        yield reader, told
        reader.close()
