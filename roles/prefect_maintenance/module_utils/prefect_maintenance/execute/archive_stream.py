"""Rows as the database sends them, in pieces of bounded size."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..database.connection import Database
from ..database.driver_errors import told
from ..database.table_guard import cancel, driver_of
from .archive_lines import of_copy, of_rows

# Bytes of rows that are handed on at a time.
_PIECE = 1 << 19

# Takes whole rows, and what makes lines of them.
Take = Callable[[bytes, Callable[[bytes], bytes]], None]


def stream(database: Database, sql: str, values: Mapping[str, Any], take: Take) -> int:
    """Hand on the rows that a statement returns, as lines of an archive; returns how many.

    Raises:
        MaintenanceError: the database refused it.
    """
    if database.is_postgresql:
        return _copied(database, sql, values, take)
    rows = database.rows(sql, **values)
    if rows:
        take(of_rows(rows), bytes)
    return len(rows)


def bound(database: Database, sql: str, values: Mapping[str, Any]) -> str:
    """Let the driver of PostgreSQL write values into a statement that cannot bind them."""
    written = str(sa.text(sql).compile(dialect=database.connection.dialect))
    if not values:
        return written % ()
    with driver_of(database).cursor() as cursor:
        return str(cursor.mogrify(written, dict(values)).decode())


def _copied(database: Database, sql: str, values: Mapping[str, Any], take: Take) -> int:
    driver = driver_of(database)
    pieces = _Pieces(take, lambda: cancel(driver))
    copy = f"COPY ({bound(database, sql, values)}) TO STDOUT"
    try:
        with told(), driver.cursor() as cursor, io.BufferedWriter(pieces, _PIECE) as buffered:
            try:
                cursor.copy_expert(copy, buffered)
            except psycopg2.Error as error:
                if driver.closed:
                    database.connection.invalidate()
                raise DBAPIError(sql, None, error, connection_invalidated=driver.closed) from None
            rows = int(cursor.rowcount)
    finally:
        # A write that failed is why the statement was ended.
        pieces.raise_failure()
    return rows


class _Pieces(io.RawIOBase):
    """Cuts what is written between two rows, and takes all of it whatever becomes of it.

    The driver leaves a session in the middle of its COPY when a write fails; so the failure waits
    until the statement has ended.
    """

    def __init__(self, take: Take, end: Callable[[], None]) -> None:
        self._take = take
        self._end = end
        self._rest = b""
        self._failure: Exception | None = None

    def writable(self) -> bool:
        """Tell the buffer before it that it can be written to."""
        return True

    def write(self, piece: Any) -> int:
        """Hand on the whole rows of what has come."""
        if self._failure is None:
            rows = self._rest + bytes(piece)
            end = rows.rfind(b"\n") + 1
            self._rest = rows[end:]
            try:
                if end:
                    self._take(rows[:end], of_copy)
            except Exception as error:
                self._failure = error
                self._end()
        return len(piece)

    def raise_failure(self) -> None:
        """Raise what a write failed from, if one did."""
        if self._failure is not None:
            raise self._failure
