"""How large the indexes of a table would be if they were built anew, on PostgreSQL.

Keys that come in no order leave the pages of a B-tree a third empty, and a GIN index keeps the
pages in which new entries waited. A rewrite gives that back beside the space of the dead rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from ..database.connection import Database

# One row for each column of each index; what an index computes has statistics of its own.
_INDEXES = """
SELECT i.relname, pg_relation_size(i.oid) AS bytes, m.amname AS kind, x.indisunique AS is_unique,
       x.indisvalid AND x.indisready AND x.indnatts = x.indnkeyatts AND i.reloptions IS NULL
       AND (x.indpred IS NULL OR i.reltuples > 0) AS is_ordinary,
       CASE WHEN x.indpred IS NULL THEN 1.0
            ELSE LEAST(1.0, GREATEST(i.reltuples, 0) / GREATEST(t.reltuples, 1)) END AS share,
       pg_size_bytes(current_setting('gin_pending_list_limit')) AS waiting,
       s.avg_width AS width, s.n_distinct AS distinct_keys, s.null_frac AS nulls
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_am m ON m.oid = i.relam
JOIN pg_attribute k ON k.attrelid = i.oid AND k.attnum <= x.indnkeyatts
LEFT JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum = x.indkey[k.attnum - 1]
                        AND c.attnum > 0
LEFT JOIN pg_stats s ON s.schemaname = current_schema() AND NOT s.inherited
                    AND s.tablename = CASE WHEN c.attname IS NULL THEN i.relname ELSE t.relname END
                    AND s.attname = COALESCE(c.attname, k.attname)
WHERE x.indrelid = to_regclass(:t) ORDER BY i.relname, k.attnum
"""
# A page less its header and its special space, filled as a build fills a leaf; the levels above.
_LEAF, _PAGE, _ABOVE = int(0.9 * (8192 - 24 - 16)), 8192, 1.02
# Header and line pointer of an entry; a pointer to a row, of which equal keys share one entry.
_HEADER, _POINTER, _ROW = 8, 4, 6
# What a GIN index has of the list in which new entries waited and of pages that were split.
_IDLE = 0.9


@dataclass(frozen=True)
class Key:
    """One column of an index, as the planner knows it: of how many bytes, how often distinct."""

    width: int
    distinct: float
    nulls: float


@dataclass(frozen=True)
class Index:
    """One index as it lies on disk.

    Attributes:
        keys: its columns; nothing where the planner does not know them.
        share: of the rows that are in it.
        waiting: bytes of entries that may wait before they are sorted into a GIN index.
        name: its name, as it stands.
        ordinary: it is valid, filled as usual, has no columns but its keys, and its rows are known.
    """

    bytes: int
    kind: str
    unique: bool
    share: float
    waiting: int
    keys: tuple[Key, ...]
    name: str = ""
    ordinary: bool = True


def of_table(database: Database, table: str) -> tuple[Index, ...]:
    """Return the indexes of a table on PostgreSQL, as they lie on disk and the planner knows them.

    The keys of an index of which the planner knows nothing are missing.
    """
    found = database.rows(_INDEXES, t=table)
    return tuple(_index(list(columns)) for _, columns in groupby(found, key=attrgetter("relname")))


def loose(index: Index, rows: int) -> int:
    """Return the bytes that one index of so many rows loses when it is built anew."""
    if index.kind == "gin":
        return int(_IDLE * min(index.bytes, index.waiting))
    if index.kind != "btree" or not index.keys:
        return 0
    return max(0, index.bytes - fresh(index, rows))


def fresh(index: Index, rows: int) -> int:
    """Return the bytes that a B-tree of so many rows takes right after it was built."""
    entries = rows * index.share
    distinct = 1.0
    for column in index.keys:
        distinct *= _distinct(column, rows)
    alike = 1.0 if index.unique else max(1.0, entries / max(1.0, min(distinct, entries)))
    return _built(index, entries, alike)


def at_most(index: Index, rows: int) -> int:
    """Return the bytes that a B-tree of so many rows takes right after it was built, at most."""
    return _built(index, rows * index.share, 1.0)


def _built(index: Index, entries: float, alike: float) -> int:
    """Return the bytes of a fresh B-tree in which so many entries have the same key."""
    key = _padded(sum(key.width * (1 - key.nulls) for key in index.keys))
    if alike < 2:
        wanted = entries * (_HEADER + key + _POINTER)
    else:
        wanted = entries / alike * (_padded(_HEADER + key + alike * _ROW) + _POINTER)
    pages = -(-wanted // _LEAF) * _ABOVE
    return int(pages + 1) * _PAGE


def _distinct(key: Key, rows: int) -> float:
    """Return how many different values a column has; negative counts are shares of the rows."""
    return max(1.0, key.distinct if key.distinct >= 0 else -key.distinct * rows)


def _padded(width: float) -> float:
    return -(-width // 8) * 8


def _index(columns: Sequence[Any]) -> Index:
    """Put the columns of an index together."""
    first = columns[0]
    known = all(column.width is not None for column in columns)
    keys = (Key(int(c.width), float(c.distinct_keys), float(c.nulls)) for c in columns if known)
    return Index(
        bytes=int(first.bytes),
        kind=first.kind,
        unique=first.is_unique,
        share=float(first.share),
        waiting=int(first.waiting),
        keys=tuple(keys),
        name=first.relname,
        ordinary=first.is_ordinary,
    )
