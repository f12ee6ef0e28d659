"""Rows come back from archives: each once, after what it belongs to.

A chunk of rows is laid down in a temporary table, and what is not there yet goes on into the table,
in one transaction. A row whose parent is not there is left out. A column that names a row which is
not there is left empty, as the database itself does when that row goes; once all tables are done
it is filled, because runs and their states name each other.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import psycopg2
from sqlalchemy.exc import DBAPIError

from ..catalogue import (
    ARTIFACT,
    ARTIFACT_COLLECTION,
    BY_NAME,
    EVENT_RESOURCES,
    EVENTS,
    FLOW_RUN,
    FLOW_RUN_INPUT,
    FLOW_RUN_STATE,
    LOG,
    TASK_RUN,
    TASK_RUN_STATE,
)
from ..database.connection import Database
from ..database.driver_errors import told
from ..events import Progress
from ..pace.pace import Pace
from . import restore_sql as sql
from .archive_lines import to_copy, to_sqlite
from .restore_files import Found, files_of, rows_in
from .restore_select import Selection

# What a row belongs to comes before it.
ORDER = tuple(
    table.name
    for table in (
        FLOW_RUN,
        TASK_RUN,
        FLOW_RUN_STATE,
        TASK_RUN_STATE,
        FLOW_RUN_INPUT,
        LOG,
        ARTIFACT,
        ARTIFACT_COLLECTION,
        EVENTS,
        EVENT_RESOURCES,
    )
)
_CHUNK = 5000

Rows = list[list[Any]]


@dataclass
class Restored:
    """What became of the wanted rows, by table.

    Attributes:
        rows: that are back, or would be.
        there: that were there already.
        left_out: whose parent is not there.
        completed: that were there and name again what came back.
    """

    rows: dict[str, int] = field(default_factory=dict)
    there: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    completed: dict[str, int] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether anything came back."""
        return any(self.rows.values()) or any(self.completed.values())


@dataclass(frozen=True)
class Restore:
    """One restore.

    Attributes:
        archives: the oldest first.
        check: only say what would come back.
    """

    database: Database
    archives: list[Found]
    selection: Selection
    pace: Pace
    check: bool
    done: Restored = field(default_factory=Restored)

    def run(self) -> Restored:
        """Put the wanted rows back; returns what became of them.

        Raises:
            Stopped: between two chunks; a second run goes on.
        """
        for table in ORDER:
            for statements, rows in self._chunks(table):
                self._put(table, statements, rows)
                done = sum(kind.get(table, 0) for kind in (self.done.rows, self.done.there))
                self.pace(Progress(table, done, None))
        for table in ORDER:
            if any(one.table in ORDER for one in sql.references(self.database, table)):
                for statements, rows in self._chunks(table):
                    self._complete(table, statements, rows)
        return self.done

    def _chunks(self, table: str) -> Iterator[tuple[sql.Statements, Rows]]:
        """Yield the wanted rows of a table and what is carried out for them."""
        most = 1 if BY_NAME[table].repeats else _CHUNK
        for path, entry, manifest in files_of(self.archives, table):
            called = manifest.rules_named(self.selection.wanted.rule)
            statements = sql.statements(self.database, table, entry.columns)
            found = (
                row[: len(entry.columns)]
                for row in rows_in(path, entry)
                if self.selection(table, dict(zip(entry.names, row, strict=True)), called)
            )
            while rows := list(islice(found, most)):
                yield statements, rows

    def _put(self, table: str, statements: sql.Statements, rows: Rows) -> None:
        database = self.database

        def once() -> tuple[int, int, int]:
            with database.transaction():
                _lay_down(database, statements, rows)
                left = int(database.scalar(statements.left_out))
                put = database.run(statements.foretell if self.check else statements.put)
                turned = 0
                if BY_NAME[table].repeats:
                    turned = _changed(database, statements.turn, check=self.check)
                return put, left, turned

        put, left, turned = database.retry_on_lock(once)
        _add(self.done.rows, table, put)
        _add(self.done.left_out, table, left)
        _add(self.done.there, table, len(rows) - put - left)
        _add(self.done.completed, table, turned)

    def _complete(self, table: str, statements: sql.Statements, rows: Rows) -> None:
        """Let rows name again what has come back after them."""
        database = self.database

        def once() -> int:
            with database.transaction():
                _lay_down(database, statements, rows)
                return sum(
                    _changed(database, change, check=self.check) for change in statements.complete
                )

        _add(self.done.completed, table, database.retry_on_lock(once))


def _changed(database: Database, statement: sql.Change, *, check: bool) -> int:
    if check:
        return int(database.scalar(statement.count))
    return database.run(statement.change)


def _add(counted: dict[str, int], table: str, rows: int) -> None:
    counted[table] = counted.get(table, 0) + rows


def _lay_down(database: Database, statements: sql.Statements, rows: Rows) -> None:
    """Leave nothing but these rows in the temporary table."""
    for statement in statements.prepare:
        database.run(statement)
    listed = statements.listed
    if not database.is_postgresql:
        places = ", ".join("?" * len(rows[0]))
        with told():
            database.connection.exec_driver_sql(
                f"INSERT INTO {sql.LAID_DOWN} ({listed}) VALUES ({places})",
                [tuple(map(to_sqlite, row)) for row in rows],
            )
        return
    text = io.StringIO("".join(map(to_copy, rows)))
    copy = f"COPY {sql.LAID_DOWN} ({listed}) FROM STDIN"
    with told(), database.driver.cursor() as cursor:
        try:
            cursor.copy_expert(copy, text)
        except psycopg2.Error as error:
            raise DBAPIError(copy, None, error) from None
