"""How many rows a day come to each table, and what they take, from the rows' own times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..catalogue import BY_NAME, Table
from ..database.connection import Database
from ..request.policy import Cutoffs
from .sizes import TableSize

WINDOW = timedelta(days=14)
# Less than this says nothing of a day.
_LEAST = timedelta(days=1)
# PostgreSQL counts the rows of smaller heaps in a moment; of larger ones it reads so many pages,
# which takes the same time however large they are. Where few of these have young rows, they say
# little, but an index then finds the few rows as fast.
_EXACT_BELOW_BYTES = 16 * 2**20
_PAGES, _PAGE = 1000, 8192
_FEW_ROWS = 50_000

_COUNT = "SELECT count(*) FROM {table} WHERE {age} >= :since AND {age} < :until"
_SAMPLE = """
SELECT count(*) FILTER (WHERE {age} >= :since AND {age} < :until), count(*) FROM {table}
"""
_INDEXED = """
SELECT count(*) FROM pg_index x
JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
WHERE x.indrelid = to_regclass(:t) AND a.attname = :age
"""
# The same pages each time, so that two runs differ only by what has changed.
_PAGES_OF = "{table} {alias} TABLESAMPLE SYSTEM ({percent:.6f}) REPEATABLE (1)"


@dataclass(frozen=True)
class Growth:
    """What comes to a table in a day.

    Attributes:
        rows: a day.
        bytes: a day, with their share of indexes and TOAST; None where no row says what one takes.
        method: how it was found out.
        days: over which; at most two weeks, and not more than the policy keeps.
    """

    table: str
    rows: float
    bytes: float | None
    method: str
    days: float


def growth(database: Database, sizes: Iterable[TableSize], cutoffs: Cutoffs) -> list[Growth]:
    """Return what comes to each table in a day; nothing when the oldest row is younger than one.

    Args:
        database: where; only read.
        sizes: of all tables, as they are now.
        cutoffs: what is older has gone and does not count.
    """
    measured = {size.name: size for size in sizes}
    oldest = [size.oldest for size in measured.values() if size.oldest]
    if not oldest or cutoffs.reference - min(oldest) < _LEAST:
        return []
    found: dict[str, Growth] = {}
    for name, size in measured.items():
        if BY_NAME[name].goes_with is None:
            days = _days(BY_NAME[name], size.oldest or min(oldest), cutoffs)
            found[name] = _counted(database, size, days, cutoffs.reference)
    for name, size in measured.items():
        if leader := BY_NAME[name].goes_with:
            found[name] = _in_proportion(size, measured[leader], found[leader])
    return list(found.values())


def scaled_to(database: Database, size: TableSize) -> tuple[str, float]:
    """Return what to select from instead of a table, and the share of its rows that this has."""
    if not database.is_postgresql or size.heap_bytes < _EXACT_BELOW_BYTES:
        return size.name, 1.0
    return sample_of(size), sampled_share(size)


def sample_of(size: TableSize, alias: str = "", pages: int = _PAGES) -> str:
    """Write what to select from instead of a table on PostgreSQL: about so many of its pages."""
    return pages_of(size.name, size.heap_bytes, alias, pages)


def sampled_share(size: TableSize, pages: int = _PAGES) -> float:
    """Return the share of a table's rows that so many of its pages have."""
    return share_of(size.heap_bytes, pages)


def pages_of(table: str, heap_bytes: int, alias: str = "", pages: int = _PAGES) -> str:
    """Write what to select from instead of a table with such a heap: about so many of its pages."""
    percent = 100 * share_of(heap_bytes, pages)
    return _PAGES_OF.format(table=table, alias=alias, percent=percent)


def share_of(heap_bytes: int, pages: int = _PAGES) -> float:
    """Return the share of a heap of so many bytes that so many pages are."""
    return min(1.0, pages * _PAGE / max(1, heap_bytes))


def _counted(database: Database, size: TableSize, days: float, until: datetime) -> Growth:
    table = BY_NAME[size.name]
    span = {"since": until - timedelta(days=days), "until": until}
    source, share = scaled_to(database, size)
    if share < 1.0:
        young, seen = database.rows(_SAMPLE.format(table=source, age=table.age), **span)[0]
        rows = size.rows * young / seen if seen else 0.0
        if rows > _FEW_ROWS or not database.scalar(_INDEXED, t=size.name, age=table.age):
            return _growth(size, rows, days, f"from a sample of {_PAGES:,} pages")
    rows = float(database.scalar(_COUNT.format(table=size.name, age=table.age), **span))
    return _growth(size, rows, days, "counted")


def _in_proportion(size: TableSize, leader: TableSize, growth: Growth) -> Growth:
    rows = size.rows * growth.rows * growth.days / leader.rows if leader.rows else 0.0
    return _growth(size, rows, growth.days, f"in proportion to {leader.name}")


def _growth(size: TableSize, rows: float, days: float, how: str) -> Growth:
    live = size.bytes - size.bloat_bytes
    of_a_row = live / size.rows if size.rows and size.bytes else None
    if not rows:
        of_a_row = 0.0
    return Growth(
        table=size.name,
        rows=rows / days,
        bytes=None if of_a_row is None else rows * of_a_row / days,
        method=f"{how} over {days:.0f} days",
        days=days,
    )


def _days(table: Table, oldest: datetime, cutoffs: Cutoffs) -> float:
    """Return the days over which the rows of a table are counted.

    Args:
        table: in the catalogue.
        oldest: its oldest row, or that of all tables when it has none.
        cutoffs: of the policy.
    """
    spans = [WINDOW, cutoffs.reference - oldest]
    if table.entity:
        spans.append(cutoffs.reference - getattr(cutoffs, table.entity))
    return max(_LEAST, min(spans)) / timedelta(days=1)
