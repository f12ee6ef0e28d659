"""Rows that leave a table without a DELETE of their own are archived before they go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..catalogue import Table
from ..database.connection import Database
from ..plan.hanging import Hanging, cascading, trailing
from ..plan.words import listed


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


def archive_hanging(database: Database, table: Table, ids: Iterable[str]) -> None:
    """Archive what foreign keys take along with objects that the transaction has locked."""
    _archive(database, cascading(table), listed(ids))


def archive_leaving(database: Database, table: Table, ids: Iterable[str]) -> None:
    """Archive objects that somebody else is to delete, and all that leaves with them."""
    if database.keeper is None:
        return
    own = Hanging(table, f"{table.name} x", "x.id")
    with database.transaction():
        _archive(database, (own, *cascading(table), *trailing(table)), listed(ids))


def _archive(database: Database, leaving: Iterable[Hanging], ids: str) -> None:
    for hanging in leaving:
        rows = f"FROM {hanging.rows} WHERE {hanging.key} IN {ids}"
        archive_rows(database, hanging.table.name, rows)
