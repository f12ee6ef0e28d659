"""Rows as the database sends them, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..database.connection import Database
from ..database.driver_errors import told
from ..database.table_guard import cancel
from .archive_lines import CSV, of_csv, of_rows

# Bytes of rows that are handed on at a time: few enough for the allocator to reuse its memory.
_PIECE = 1 << 16

# Takes what makes lines of whole rows.
Take = Callable[[Callable[[], bytes]], None]


def stream(database: Database, sql: str, values: Mapping[str, Any], take: Take) -> int:
    """Hand on the rows that a statement returns, as lines of an archive; returns how many.

    Raises:
        MaintenanceError: the database refused it.
    """
    if database.is_postgresql:
        return _copied(database, sql, values, take)
    rows = database.rows(sql, **values)
    if rows:
        take(partial(of_rows, rows))
    return len(rows)


def bound(database: Database, sql: str, values: Mapping[str, Any]) -> str:
    """Let the driver of PostgreSQL write values into a statement that cannot bind them."""
    written = str(sa.text(sql).compile(dialect=database.connection.dialect))
    if not values:
        return written % ()
    with database.driver.cursor() as cursor:
        return str(cursor.mogrify(written, dict(values)).decode())


def _copied(database: Database, sql: str, values: Mapping[str, Any], take: Take) -> int:
    driver = database.driver
    pieces = _Pieces(take, lambda: cancel(driver))
    copy = f"COPY ({bound(database, sql, values)}) TO STDOUT ({CSV})"
    try:
        with told(), driver.cursor() as cursor:
            try:
                cursor.copy_expert(copy, pieces)
            except psycopg2.Error as error:
                if driver.closed:
                    database.connection.invalidate()
                raise DBAPIError(sql, None, error, connection_invalidated=driver.closed) from None
            rows = int(cursor.rowcount)
        pieces.hand_on()
    finally:
        # A write that failed is why the statement was ended.
        pieces.raise_failure()
    return rows


class _Pieces:
    """Gathers rows, each of which the driver writes by itself, and takes all of them.

    The driver leaves a session in the middle of its COPY when a write fails; so the failure waits
    until the statement has ended.
    """

    def __init__(self, take: Take, end: Callable[[], None]) -> None:
        self._take = take
        self._end = end
        self._rows: list[bytes] = []
        self._size = 0
        self._failure: Exception | None = None

    def write(self, row: bytes) -> None:
        """Take a row, and hand on what has come when that is enough."""
        self._rows.append(row)
        self._size += len(row)
        if self._size >= _PIECE:
            self.hand_on()

    def hand_on(self) -> None:
        """Hand on what has come; after a failure it is thrown away."""
        rows, self._rows, self._size = self._rows, [], 0
        if self._failure is not None or not rows:
            return
        try:
            self._take(partial(of_csv, rows))
        except Exception as error:
            self._failure = error
            self._end()

    def raise_failure(self) -> None:
        """Raise what a write failed from, if one did."""
        if self._failure is not None:
            raise self._failure
