"""The pages without a row at the end of a table, which a plain VACUUM cuts off on PostgreSQL."""

from __future__ import annotations

from ..database.connection import Database

_SIZE = """
SELECT pg_relation_size(to_regclass(:t)), current_setting('block_size')::int
"""
_LAST = "SELECT max(x.ctid) FROM {table} x WHERE x.ctid >= CAST(:first AS tid)"
# Pages that are looked at first, and how many times more each time when all of them are empty.
_LOOK, _MORE = 64, 4
# VACUUM cuts off so many pages, or that part of the table, and nothing less.
_LEAST_PAGES, _LEAST_PART = 1000, 16


def empty_end(database: Database, table: str) -> int:
    """Return the bytes that VACUUM cuts off the end of a table; no more is read than they are."""
    whole, page = database.rows(_SIZE, t=table)[0]
    pages = int(whole) // int(page)
    empty = pages - _used_pages(database, table, pages)
    least = min(_LEAST_PAGES, max(1, pages // _LEAST_PART))
    return empty * int(page) if empty >= least else 0


def _used_pages(database: Database, table: str, pages: int) -> int:
    """Return the number of pages up to the last one that has a row."""
    look, first = _LOOK, pages
    while first > 0:
        first = max(0, pages - look)
        last = database.scalar(_LAST.format(table=table), first=f"({first},0)")
        if last is not None:
            return int(str(last).strip("()").split(",")[0]) + 1
        look *= _MORE
    return 0
