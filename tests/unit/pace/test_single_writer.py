"""Between two batches an SQLite file is left to whoever else writes to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prefect_maintenance.database.connection import Database, connect
from prefect_maintenance.pace.governors import Moment, Wait
from prefect_maintenance.pace.single_writer import SingleWriter

MADE = "CREATE TABLE log (id INTEGER)"
WRITTEN = "INSERT INTO log VALUES (1)"
# However long the work took, the lock is what counts.
BATCH = Moment("log", worked=60.0, waited=0.0)


def write(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "prefect.db"
    write(path, "PRAGMA journal_mode = WAL")
    write(path, MADE)
    return path


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with connect(f"sqlite:///{path}", 5) as database:
        yield database


def waits(governor: SingleWriter, moment: Moment) -> float:
    answer = governor(moment)
    assert answer is None or isinstance(answer, Wait)
    return round(answer.seconds, 3) if answer else 0.0


def test_nobody_else_writes_so_it_waits_as_long_as_the_file_was_locked(database: Database) -> None:
    governor = SingleWriter(database)
    assert waits(governor, BATCH) == 0
    database.held.seconds += 0.1
    assert waits(governor, BATCH) == 0.1
    assert waits(governor, Moment("log", worked=60.0, waited=0.1)) == 0
    # The next batch has locked nothing yet.
    assert waits(governor, BATCH) == 0


def test_somebody_else_writes_so_the_file_is_theirs_most_of_the_time_until_they_are_gone(
    database: Database, path: Path
) -> None:
    now = 0.0
    governor = SingleWriter(database, clock=lambda: now)
    database.held.seconds += 0.1
    assert waits(governor, BATCH) == 0.1
    write(path, WRITTEN)
    assert waits(governor, BATCH) == 0.4
    now = 5.0
    assert waits(governor, Moment("log", worked=60.0, waited=0.1)) == 0.3
    now = 15.0
    assert waits(governor, BATCH) == 0.1


def test_only_transactions_count_and_not_what_is_waited_for_before_they_begin(
    database: Database, path: Path
) -> None:
    governor = SingleWriter(database)
    database.scalar("SELECT count(*) FROM log")
    assert governor.batch(60.0) == 0
    with database.transaction():
        database.run(WRITTEN)
    assert governor.batch(60.0) > 0
