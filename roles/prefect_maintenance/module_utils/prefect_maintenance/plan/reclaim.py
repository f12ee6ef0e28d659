"""How the space of each table comes back: decided from measurements, before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..catalogue import BY_NAME
from ..database.connection import Database
from ..measure.obstacles import obstacles
from ..measure.sizes import TableSize, database_bytes, measure, sqlite_free_bytes
from ..request.settings import Reclaim
from .choices import Choice, choose


def plan_reclaim(
    database: Database, wanted: Reclaim, deleted: Mapping[str, int], rewritten: Mapping[str, int]
) -> tuple[Choice, ...]:
    """Decide how the space of each table comes back once the rows in `deleted` are gone too.

    Args:
        database: where.
        wanted: mode and thresholds.
        deleted: rows that go before.
        rewritten: those of them that go because the purge rewrites the table.
    """
    if wanted.mode == "none":
        return ()
    if not database.is_postgresql:
        return (_choose_file(database, wanted, deleted),)
    found = []
    for size in measure(database):
        if not BY_NAME[size.name].reclaim:
            found.append(Choice(size.name, "plain", 0, "never large"))
            continue
        goes, copied = deleted.get(size.name, 0), rewritten.get(size.name, 0)
        choice = _choose_table(database, _once_rewritten(size, copied), goes - copied, wanted)
        if copied and choice.action == "plain":
            choice = Choice(size.name, "plain", 0, "the purge rewrites it")
        found.append(choice)
    return tuple(found)


def _once_rewritten(size: TableSize, rows: int) -> TableSize:
    """Return what a table measures once a rewrite has taken so many rows out of it."""
    if not rows:
        return size
    kept = max(0, size.rows - rows)
    share = kept / size.rows if size.rows else 0.0
    whole = int(share * (size.bytes - size.bloat_bytes))
    heap = int(whole * size.heap_bytes / size.bytes) if size.bytes else 0
    return replace(size, rows=kept, bytes=whole, heap_bytes=heap, bloat_bytes=0)


def _choose_table(database: Database, size: TableSize, deleted: int, wanted: Reclaim) -> Choice:
    choice = choose(size, deleted, wanted, ())
    if choice.action != "rewrite":
        return choice
    in_the_way = obstacles(database, size.name, size.bytes - choice.gives_back)
    return choose(size, deleted, wanted, in_the_way)


def _choose_file(database: Database, wanted: Reclaim, deleted: Mapping[str, int]) -> Choice:
    """Decide about an SQLite file, which is rewritten as a whole or not at all."""
    free = sqlite_free_bytes(database)
    if deleted:
        for table in measure(database):
            share = deleted.get(table.name, 0) / table.rows if table.rows else 0.0
            free += int(table.bytes * min(1.0, share))
    size = database_bytes(database)
    whole = TableSize("", 0, "", size, 0, 0, size, 0, free, "exact: freelist_count", None)
    choice = choose(whole, 0, wanted, ("SQLite has only VACUUM",), exact=not deleted)
    return replace(choice, table=None)
