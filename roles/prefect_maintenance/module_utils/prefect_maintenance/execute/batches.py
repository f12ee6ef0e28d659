"""Bounded deletion: how a table is cut into pieces, and how one piece is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..database.connection import Database
from ..measure import relations
from ..measure.growth import pages_of, share_of

# From this share on, reading the whole heap once in order is cheaper than walking the index.
HEAP_SHARE = 0.25

# So many pages of a heap tell how many rows it holds to a few percent.
SAMPLE_PAGES = 1000

# Says how many rows the next batch is to have; asked anew for each.
Rows = Callable[[], int]

# SQLite has one writer: Prefect's requests fail while a batch runs, so batches are short there,
# and the pace makes a pause as long as each.
SQLITE_BATCH = 2000

_POSTGRESQL_INDEXED = """
SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
                                                   AND a.attnum = i.indkey[0]
WHERE i.indrelid = to_regclass(:t) AND i.indisvalid AND i.indpred IS NULL AND a.attname = :c
"""
_SQLITE_INDEXED = """
SELECT count(*) FROM sqlite_master m JOIN pragma_index_info(m.name) i
WHERE m.type = 'index' AND m.tbl_name = :t AND i.seqno = 0 AND i.name = :c
  AND COALESCE(m.sql, '') NOT LIKE '% WHERE %'
"""

_HEAP = "SELECT pg_relation_size(to_regclass(:t))"
_PAGE = "SELECT current_setting('block_size')::int"
_ROWS = "SELECT count(*) FROM {pages}"
# Takes several times as long as the number of rows alone.
_ROWS_AND_PAGES = "SELECT count(*), count(DISTINCT (x.ctid::text::point)[0]) FROM {pages}"

_FIRST = "SELECT CAST(min(x.{age}) AS text) FROM {table} x WHERE x.{age} < :cutoff"
_FIRST_AFTER = f"{_FIRST} AND x.{{age}} > :first"
# The text is made of the one row that is left: made of all, it would be what they are ordered by.
_NTH = """
SELECT CAST(s.at AS text) FROM (
    SELECT x.{age} AS at FROM {table} x WHERE x.{age} >= :first AND x.{age} < :cutoff
    ORDER BY x.{age} LIMIT 1 OFFSET {rows}) s
"""


def run_batch(database: Database, table: str, sql: str, **bound: Any) -> int:
    """Delete one batch of a table's rows in one transaction, again when it loses against a lock.

    Raises:
        LockTimeout: it lost every time.
    """

    def once() -> int:
        with database.transaction():
            return database.delete(table, sql, **bound)

    return database.retry_on_lock(once)


def in_parts(database: Database, table: str, where: str, rows: Rows, **bound: Any) -> Iterator[int]:
    """Delete the rows `x` of a table that fulfil a condition, in transactions of so many rows.

    Whatever the rows have in common, a parent or an instant, cuts nothing here. The condition is
    asked anew in each transaction. Yields the rows of each, after it was committed.

    Raises:
        LockTimeout: a transaction lost against a lock every time.
    """
    while gone := run_batch(database, table, delete_some(database, table, where, rows()), **bound):
        yield gone


def delete_some(database: Database, table: str, where: str, rows: int) -> str:
    """Write the statement that deletes at most so many of the rows `x` that fulfil a condition."""
    place = "ctid" if database.is_postgresql else "rowid"
    some = f"SELECT x.{place} FROM {table} AS x WHERE {where} LIMIT {rows}"
    return f"DELETE FROM {table} AS x WHERE x.{place} {among(database, some)}"


def among(database: Database, some: str) -> str:
    """Write that a value is one of those that a query returns, which is carried out once.

    An index leads to them on PostgreSQL, whatever the planner expects of the query.
    """
    return f"= ANY(ARRAY({some}))" if database.is_postgresql else f"IN ({some})"


def those(database: Database, ids: Iterable[str]) -> str:
    """Write the query of some ids `v.id`, to be followed by a condition or nothing.

    PostgreSQL expects few of it, however many they are, so an index leads to the rows.
    """
    written = ", ".join(f'"{each}"' for each in ids)
    if database.is_postgresql:
        return f"SELECT v.id FROM unnest(CAST('{{{written}}}' AS uuid[])) v(id)"
    return f"SELECT v.id FROM (SELECT value AS id FROM json_each('[{written}]')) v"


def indexed(database: Database, table: str, column: str) -> bool:
    """Tell whether a valid index begins with the column: without it every batch would search."""
    sql = _POSTGRESQL_INDEXED if database.is_postgresql else _SQLITE_INDEXED
    return bool(database.scalar(sql, t=table, c=column))


@dataclass(frozen=True)
class Heap:
    """A heap of PostgreSQL, from a sample of its pages.

    The planner's own numbers can be of any age, from before the rows came or after they went.

    Attributes:
        pages: that it takes on disk.
        rows_a_page: that a page holds which is not empty, about.
    """

    pages: int
    rows_a_page: float


def sample(database: Database, table: str) -> Heap:
    """Look at some pages of a table's heap."""
    heap = database.scalar(_HEAP, t=table)
    pages = pages_of(table, heap, "x", SAMPLE_PAGES)
    rows, filled = database.rows(_ROWS_AND_PAGES.format(pages=pages))[0]
    return Heap(heap // database.scalar(_PAGE), rows / filled if filled else 1.0)


def rows_about(database: Database, table: str) -> float:
    """Tell about how many rows a table of PostgreSQL holds, from a sample of its pages."""
    heap = database.scalar(_HEAP, t=table)
    pages = pages_of(table, heap, "x", SAMPLE_PAGES)
    return float(database.scalar(_ROWS.format(pages=pages)) / share_of(heap, SAMPLE_PAGES))


def heap_slices(database: Database, table: str, rows: Rows) -> Iterator[str]:
    """Cut the heap, as it is now, into conditions on `x` that hold about so many rows each.

    Rows that come later lie behind the end or in freed space; they are too young to go. When
    somebody else moves all rows meanwhile (VACUUM FULL, CLUSTER, pg_repack), the new heap is cut
    as well.
    """
    if database.is_postgresql:
        cut = None
        while cut != (there := relations.files(database, table)):
            cut = there
            heap = sample(database, table)
            page = 0
            while page < heap.pages:
                begin, page = page, page + max(1, int(rows() / heap.rows_a_page))
                yield f"x.ctid >= '({begin},0)' AND x.ctid < '({page},0)'"
    else:
        start, last = database.rows(f"SELECT min(rowid), max(rowid) FROM {table}")[0]
        while last is not None and start <= last:
            begin, start = start, start + rows()
            yield f"x.rowid >= {begin} AND x.rowid < {start}"


def time_slices(
    database: Database, table: str, age: str, cutoff: datetime, rows: Rows
) -> Iterator[tuple[str, str, bool]]:
    """Cut the time before the cutoff into slices of about so many rows, oldest first.

    A slice begins where the one before ended, so nothing that was emptied is read again. Instants
    stay the database's own text: Python has none for infinity, nor for the years before Christ.
    Yields begin and end, and whether it is one instant that more rows than asked carry.
    """
    named = {"table": table, "age": age}
    first = database.scalar(_FIRST.format(**named), cutoff=cutoff)
    while first is not None:
        bound = {"first": first, "cutoff": cutoff}
        last = database.scalar(_NTH.format(**named, rows=rows()), **bound)
        crowded = last == first
        if crowded:
            last = database.scalar(_FIRST_AFTER.format(**named), **bound)
        yield first, database.instant(cutoff) if last is None else last, crowded
        first = last
