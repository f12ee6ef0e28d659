"""Rows that leave a table without a DELETE of their own are archived before they go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..catalogue import Table
from ..database.connection import Database
from ..plan.hanging import Hanging, cascading, trailing
from ..plan.words import listed

_DELETE = "DELETE FROM {table} WHERE id IN {ids}"
_IDS = "SELECT CAST(x.id AS VARCHAR) FROM {table} x WHERE {where}"
# Nobody hangs anything on a row that is locked so.
_LOCK = " FOR UPDATE OF x"


def archive_rows(database: Database, table: str, rows: str, **values: Any) -> int:
    """Archive rows `x` of a table, where there is an archive; returns how many.

    Args:
        database: in a transaction.
        table: of the rows.
        rows: the rest of a SELECT, from its FROM on.
        values: that it binds.
    """
    if database.keeper is None:
        return 0
    return database.keeper.take(database, table, f"SELECT {{columns}} {rows}", values)


def delete_whole(database: Database, table: Table, ids: Iterable[str]) -> int:
    """Delete objects that the transaction has locked; they are archived with all they take along.

    They are read before: a foreign key may empty a column of an object before its turn comes.
    """
    _archive(database, (_own(table), *cascading(table)), listed(ids))
    return database.run(_DELETE.format(table=table.name, ids=listed(ids)))


def delete_parents(database: Database, table: Table, where: str) -> int:
    """Delete rows `x` that meet a condition in one transaction, as `delete_whole` does."""

    def once() -> int:
        with database.transaction():
            lock = _LOCK if database.is_postgresql else ""
            ids = [
                row[0] for row in database.rows(_IDS.format(table=table.name, where=where) + lock)
            ]
            return delete_whole(database, table, ids) if ids else 0

    return database.retry_on_lock(once)


def archive_leaving(database: Database, table: Table, ids: Iterable[str]) -> None:
    """Archive objects that somebody else is to delete, and all that leaves with them."""
    if database.keeper is None:
        return
    with database.transaction():
        _archive(database, (_own(table), *cascading(table), *trailing(table)), listed(ids))


def _own(table: Table) -> Hanging:
    return Hanging(table, f"{table.name} x", "x.id")


def _archive(database: Database, leaving: Iterable[Hanging], ids: str) -> None:
    for hanging in leaving:
        rows = f"FROM {hanging.rows} WHERE {hanging.key} IN {ids}"
        archive_rows(database, hanging.table.name, rows)
