"""How large everything is, on disk and in rows, and how old."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ..catalogue import BY_NAME, TABLES
from ..database.connection import Database
from ..errors import MaintenanceError
from ..events import MEASURED, Counting, Listener, silent
from .bloat import free_in_heap
from .fresh_indexes import loose, of_table

# An exact count of a table larger than this would take longer than the maintenance itself.
EXACT_BELOW_BYTES = 2 * 2**30

_POSTGRESQL_TABLE = """
SELECT pg_table_size(c.oid) - COALESCE(pg_total_relation_size(NULLIF(c.reltoastrelid, 0)), 0),
       COALESCE(pg_total_relation_size(NULLIF(c.reltoastrelid, 0)), 0),
       pg_indexes_size(c.oid),
       GREATEST(c.reltuples, 0),
       pg_stat_get_dead_tuples(c.oid),
       (SELECT COALESCE(max(pg_relation_size(i.indexrelid)), 0)
        FROM pg_index i WHERE i.indrelid = c.oid),
       (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid)
FROM pg_class c WHERE c.oid = to_regclass(:t)
"""

_CORRELATION = """
SELECT correlation FROM pg_stats
WHERE schemaname = current_schema() AND tablename = :t AND attname = :c AND NOT inherited
"""

_ANALYSED = "SELECT count(*) FROM pg_stats WHERE schemaname = current_schema() AND tablename = :t"

_SQLITE_DBSTAT = "SELECT name, sum(pgsize), sum(unused) FROM dbstat GROUP BY name"

_SQLITE_INDEXES = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = :t"


# Of a smaller table it does not matter what its indexes would take.
_WORTH_A_LOOK = 2**20
# Bytes of an index without a row on PostgreSQL: its first page and its root.
_EMPTY = 2 * 8192
# What pages of an SQLite index are short of full right after VACUUM.
_SHORT = 0.02


@dataclass(frozen=True)
class TableSize:
    """One table as it lies on disk; bytes, rows, and how each was found out.

    Attributes:
        bloat_bytes: that its live rows do not need.
        loose_bytes: that its indexes lose beside that when they are built anew. They come again as
            rows come, so they are no reason for a rewrite.
        least_bytes: that it would take without a row.
        largest_index_bytes: of its largest index.
        indexes: how many it has, on PostgreSQL.
        ages: whether its oldest row was looked for.
    """

    name: str
    rows: int
    rows_method: str
    heap_bytes: int
    toast_bytes: int
    index_bytes: int
    bytes: int
    dead: int
    bloat_bytes: int
    bloat_method: str
    oldest: datetime | None
    loose_bytes: int = 0
    least_bytes: int = 0
    largest_index_bytes: int = 0
    indexes: int = 0
    ages: bool = True

    def share(self, rows: int) -> float:
        """Return the share that so many rows are of the table's."""
        if not self.rows:
            return 1.0 if rows else 0.0
        return min(1.0, rows / self.rows)

    def kept_bytes(self, goes: int) -> int:
        """Return the bytes of what is kept when so many rows go, without bloat."""
        return int((1 - self.share(goes)) * (self.bytes - self.bloat_bytes))

    def free_bytes(self, goes: int) -> int:
        """Return the bytes that are free, or will be when so many rows go."""
        return self.bloat_bytes + int(self.share(goes) * (self.bytes - self.bloat_bytes))

    @property
    def share_without_toast(self) -> float:
        """The share of the bytes that lies in the heap and the indexes."""
        return 1 - self.toast_bytes / self.bytes if self.bytes else 0.0

    def copy_bytes(self, goes: int) -> int:
        """Return the bytes of what is kept when so many rows go, once it is written anew."""
        share = self.share(goes)
        full = max(0, self.bytes - self.bloat_bytes - self.loose_bytes)
        return int((1 - share) * full + share * min(full, self.least_bytes))


def analysed(database: Database, table: str) -> bool:
    """Tell whether the planner knows what stands in a table's columns."""
    return bool(database.scalar(_ANALYSED, t=table))


def database_bytes(database: Database) -> int:
    """Return the size of the whole database on disk, SQLite's side files included."""
    if database.is_postgresql:
        return int(database.scalar("SELECT pg_database_size(current_database())"))
    sides = (database.file.with_name(database.file.name + end) for end in ("", "-wal", "-shm"))
    return sum(side.stat().st_size for side in sides if side.exists())


def total_bytes(database: Database, table: str) -> int:
    """Return the size of one table on PostgreSQL, indexes and TOAST included."""
    return int(database.scalar("SELECT pg_total_relation_size(to_regclass(:t))", t=table))


def measure(
    database: Database,
    only: str | None = None,
    *,
    count: bool = True,
    ages: bool = True,
    tell: Listener = silent,
) -> tuple[TableSize, ...]:
    """Measure every table of the catalogue, or only one.

    Args:
        database: where.
        only: the name of the one table.
        count: count the rows of tables that are not too large for it; else trust the planner's
            number where it has one.
        ages: look for the oldest row. Right after deletes that walks along all that went.
        tell: is told how many are measured.
    """
    names = [table.name for table in TABLES if only in (None, table.name)]
    if database.is_postgresql:
        measuring, sizes = Counting(tell, len(names), MEASURED), []
        for name in names:
            measuring(name)
            sizes.append(_measure_postgresql(database, name, count=count, ages=ages))
        return tuple(sizes)
    return _measure_sqlite(database, names, ages=ages)


def dead_tuples(database: Database, table: str) -> int:
    """Return the dead tuples of a table on PostgreSQL, as its statistics have them."""
    return int(database.rows(_POSTGRESQL_TABLE, t=table)[0][4])


def ordered(database: Database, table: str) -> float:
    """Return how closely the age of a table's rows follows their place on disk, from 0 to 1."""
    found = database.scalar(_CORRELATION, t=table, c=BY_NAME[table].age)
    return abs(float(found or 0.0))


def oldest(database: Database, table: str) -> datetime | None:
    """Return the age of a table's oldest row, for the tables that the policy dates."""
    if BY_NAME[table].entity is None:
        return None
    age = BY_NAME[table].age
    # Infinity and the years before Christ are no dates in Python.
    in_python = f"WHERE {age} >= '0001-01-02' AND {age} < '9999-12-31'"
    found = database.scalar(f"SELECT min({age}) FROM {table} {in_python}")
    if isinstance(found, str):
        found = datetime.fromisoformat(found).replace(tzinfo=UTC)
    return found if isinstance(found, datetime) else None


def _measure_postgresql(database: Database, name: str, *, count: bool, ages: bool) -> TableSize:
    heap, toast, index, estimate, dead, largest, many = database.rows(_POSTGRESQL_TABLE, t=name)[0]
    total = heap + toast + index
    exact = total < EXACT_BELOW_BYTES and (count or not estimate)
    rows = database.scalar(f"SELECT count(*) FROM {name}") if exact else int(estimate)
    free, method = free_in_heap(database, name, rows)
    # Nothing short of a full read tells how full indexes and TOAST are; they lose their rows
    # together with the heap, so the heap's share is taken for them too.
    bloat = free + int((index + toast) * free / heap) if heap else 0
    of_bloat = int(index * free / heap) if heap else 0
    indexes = of_table(database, name) if total >= _WORTH_A_LOOK else ()
    return TableSize(
        name=name,
        rows=rows,
        rows_method="exact" if exact else "estimate",
        heap_bytes=heap,
        toast_bytes=toast,
        index_bytes=index,
        bytes=total,
        dead=dead,
        bloat_bytes=bloat,
        bloat_method=method,
        oldest=oldest(database, name) if ages else None,
        ages=ages,
        loose_bytes=max(0, sum(loose(each, rows) for each in indexes) - of_bloat),
        least_bytes=_EMPTY * len(indexes) + (_EMPTY if toast else 0),
        largest_index_bytes=largest,
        indexes=many,
    )


def _measure_sqlite(
    database: Database, names: Iterable[str], *, ages: bool
) -> tuple[TableSize, ...]:
    sizes_of = {}
    method = "exact, by dbstat"
    try:
        for name, payload, unused in database.rows(_SQLITE_DBSTAT):
            sizes_of[name] = (payload, unused)
    except MaintenanceError:
        method = "unknown, because this SQLite is built without dbstat"
    found, page = [], int(database.scalar("PRAGMA page_size"))
    for name in names:
        indexes = [r[0] for r in database.rows(_SQLITE_INDEXES, t=name)]
        heap, free = sizes_of.get(name, (0, 0))
        parts = [sizes_of.get(i, (0, 0)) for i in indexes]
        index, room = sum(size for size, _ in parts), sum(unused for _, unused in parts)
        rows = database.scalar(f"SELECT count(*) FROM {name}")
        # A row that does not fit leaves the end of its page empty, also right after VACUUM.
        row = (heap - free) / rows if rows else 0.0
        natural = int(heap * min(0.25, row / page) + _SHORT * index)
        found.append(
            TableSize(
                name=name,
                rows=rows,
                rows_method="exact",
                heap_bytes=heap,
                toast_bytes=0,
                index_bytes=index,
                bytes=heap + index,
                dead=0,
                bloat_bytes=free + room,
                bloat_method=method,
                oldest=oldest(database, name) if ages else None,
                ages=ages,
                loose_bytes=max(0, free + room - natural),
                least_bytes=page * (1 + len(indexes)),
            )
        )
    return tuple(found)


def sqlite_free_bytes(database: Database) -> int:
    """Return the bytes of whole free pages in an SQLite file: exactly what VACUUM gives back."""
    pages = database.scalar("PRAGMA freelist_count")
    return int(pages) * int(database.scalar("PRAGMA page_size"))


def steps_possible(database: Database) -> bool:
    """Tell whether an SQLite file can give its free pages back in small steps.

    A VACUUM makes it so when asked (SQLite manual, auto_vacuum); Prefect does not ask.
    """
    return int(database.scalar("PRAGMA auto_vacuum")) == 2


def sqlite_bytes(database: Database) -> int:
    """Return the bytes of an SQLite file once its write-ahead log is emptied into it."""
    pages = database.scalar("PRAGMA page_count")
    return int(pages) * int(database.scalar("PRAGMA page_size"))
