"""Indexes that are of no use, or much larger than they need to be, on PostgreSQL.

An index is INVALID when the statement that built it concurrently was interrupted: queries do not
use it, and every write still pays for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..database.connection import Database
from ..database.privileges import knows_maintain
from .fresh_indexes import at_most, loose, of_table

Problem = Literal["invalid", "bloated"]

# An index that somebody is building right now is not valid yet. What others build is hidden from
# a role without pg_read_all_stats, but not that they do.
_INVALID = """
SELECT i.relname, format('%I.%I', n.nspname, i.relname) AS quoted,
       pg_relation_size(i.oid) AS bytes, NOT has_schema_privilege(n.oid, 'USAGE') AS out_of_reach,
       i.relname ~ '_cc(new|old)[0-9]*$' AS left_over
FROM pg_class t JOIN pg_index x ON x.indrelid IN (t.oid, t.reltoastrelid)
JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE t.oid = to_regclass(:t) AND NOT (x.indisvalid AND x.indisready)
  AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index p
                  WHERE p.datname = current_database()
                    AND COALESCE(NULLIF(p.relid, 0), x.indrelid) = x.indrelid)
ORDER BY i.relname
"""

# Whoever owns the table, or from PostgreSQL 17 on may maintain it.
_MAY_REINDEX = """
SELECT pg_has_role(c.relowner, 'USAGE') {maintain} FROM pg_class c WHERE c.oid = to_regclass(:t)
"""

# Keys that come in no order leave the pages of a B-tree between half and fully filled: what is
# less than twice as large as a fresh one is an index at ordinary work.
ORDINARY = 50


@dataclass(frozen=True)
class Found:
    """An index that is INVALID, or bloated.

    Attributes:
        table: whose it is.
        index: its name.
        problem: "invalid" or "bloated".
        bytes: on disk.
        bytes_back: that come back when it is built anew.
        percent: of it that come back for sure, whatever its keys are.
        left_over: made by a REINDEX CONCURRENTLY that was interrupted, beside the index that is
            meant; another that is INVALID is meant itself.
        out_of_reach: of the table's TOAST, whose schema the role may not use.
        quoted: its name as statements have it, where it is INVALID.
    """

    table: str
    index: str
    problem: Problem
    bytes: int
    bytes_back: int
    percent: int = 100
    left_over: bool = False
    out_of_reach: bool = False
    quoted: str = ""


def invalid(database: Database, table: str) -> tuple[Found, ...]:
    """Return the indexes of a table and of its TOAST table that are INVALID."""
    return tuple(
        Found(
            table,
            one.relname,
            "invalid",
            one.bytes,
            0,
            left_over=one.left_over,
            out_of_reach=one.out_of_reach,
            quoted=one.quoted,
        )
        for one in database.rows(_INVALID, t=table)
    )


def bloated(database: Database, table: str, rows: int) -> tuple[Found, ...]:
    """Return the B-trees of a table that are twice as large as its rows can need, or larger.

    How often a key comes again is known only roughly, so nobody's rows are taken to share one:
    an index that was built right now is never among them.
    """
    found = []
    for index in of_table(database, table):
        if index.kind == "btree" and index.ordinary and index.keys and index.bytes:
            percent = int(100 * (1 - at_most(index, rows) / index.bytes))
            if percent >= ORDINARY:
                back = loose(index, rows)
                found.append(Found(table, index.name, "bloated", index.bytes, back, percent))
    return tuple(found)


def may_reindex(database: Database, table: str) -> bool:
    """Tell whether the role of this connection may build the indexes of a table anew."""
    maintain = "OR has_table_privilege(c.oid, 'MAINTAIN')" if knows_maintain(database) else ""
    return bool(database.scalar(_MAY_REINDEX.format(maintain=maintain), t=table))
