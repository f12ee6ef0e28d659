"""How the space of each table comes back: decided from measurements, before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..catalogue import BY_NAME
from ..database.connection import Database
from ..measure.disk_space import file_shortage
from ..measure.empty_end import empty_end
from ..measure.room import Room
from ..measure.sizes import (
    TableSize,
    database_bytes,
    measure,
    sqlite_bytes,
    sqlite_free_bytes,
    steps_possible,
)
from ..request.settings import Reclaim
from .choices import Choice, choose, estimate_of
from .closed import closed_ways, given_back, in_order
from .estimate import Estimate, of_file, of_file_compaction
from .plan import Plan
from .sqlite_file import choose_file

_FILE = TableSize("", 0, "", 0, 0, 0, 0, 0, 0, "exact: freelist_count", None)


def plan_reclaim(
    database: Database,
    wanted: Reclaim,
    deleted: Mapping[str, int],
    rewritten: Mapping[str, int],
    *,
    before: int,
    room: Room | None = None,
) -> Plan:
    """Decide how the space of each table comes back once the rows in `deleted` are gone too.

    What only vacuums comes first, because it frees and needs no disk, then the smallest copy; each
    is decided with the room that those before it leave.

    Args:
        database: where.
        wanted: mode and thresholds.
        deleted: rows that go before.
        rewritten: those of them that go because the purge rewrites the table.
        before: bytes of the whole database when the run began.
        room: what is free on its disks; None where nobody can know.
    """
    if wanted.mode == "none":
        return Plan()
    if not database.is_postgresql:
        return _of_file(database, wanted, deleted, before)
    sizes = {size.name: size for size in measure(database, ages=False)}
    left = {name: _once_rewritten(size, rewritten.get(name, 0)) for name, size in sizes.items()}
    goes = {name: deleted.get(name, 0) - rewritten.get(name, 0) for name in sizes}
    for name in left:
        room = given_back(database, room, name, sizes[name].bytes - left[name].bytes)
    first = {name: _plain(left[name], goes[name], wanted) for name in sizes}
    found = {name: choice for name, choice in first.items() if choice}
    for name, choice in found.items():
        if rewritten.get(name) and choice.action == "plain":
            found[name] = Choice(name, "plain", 0, "the purge rewrites it")
        elif choice.action == "plain":
            back = _cut_off(database, sizes[name], deleted.get(name, 0))
            found[name] = replace(choice, gives_back=back)
            room = given_back(database, room, name, back)
    copies = {name: left[name].copy_bytes(goes[name]) for name in sizes if name not in found}
    for name in in_order(copies):
        closed = closed_ways(database, room, left[name], copies[name])
        found[name] = choose(left[name], goes[name], wanted, closed)
        room = given_back(database, room, name, found[name].gives_back)
    estimates: dict[str | None, Estimate] = {
        name: _estimated(left[name], choice) for name, choice in found.items()
    }
    return Plan(reclaim=tuple(found.values()), estimates=estimates)


def _plain(size: TableSize, goes: int, wanted: Reclaim) -> Choice | None:
    """Return the choice for a table that is only vacuumed whatever stands in the way of others."""
    if not BY_NAME[size.name].reclaim:
        return Choice(size.name, "plain", 0, "never large")
    choice = choose(size, goes, wanted)
    return choice if choice.action in ("none", "plain") and not choice.left else None


def _estimated(size: TableSize, choice: Choice) -> Estimate:
    """Estimate what is done for the space of a table, of which VACUUM counts with the deletion."""
    work = estimate_of(choice.action, size, size.bytes - choice.gives_back)
    return replace(work, bytes_back=choice.gives_back)


def _cut_off(database: Database, size: TableSize, goes: int) -> int:
    """Return the bytes that VACUUM cuts off a table: all pages, or those empty ones at its end."""
    if goes and goes >= size.rows:
        return size.heap_bytes + size.toast_bytes
    return empty_end(database, size.name)


def _once_rewritten(size: TableSize, rows: int) -> TableSize:
    """Return what a table measures once a rewrite has taken so many rows out of it."""
    if not rows:
        return size
    kept = max(0, size.rows - rows)
    share = kept / size.rows if size.rows else 0.0
    whole = int(share * (size.bytes - size.bloat_bytes))
    heap = int(whole * size.heap_bytes / size.bytes) if size.bytes else 0
    return replace(size, rows=kept, bytes=whole, heap_bytes=heap, bloat_bytes=0, loose_bytes=0)


def _of_file(database: Database, wanted: Reclaim, deleted: Mapping[str, int], before: int) -> Plan:
    """Decide about an SQLite file, which is rewritten as a whole or not at all."""
    tables, free = measure(database, ages=False), sqlite_free_bytes(database)
    free += sum(int(table.bytes * table.share(deleted.get(table.name, 0))) for table in tables)
    # Room within pages: too little of it comes back to be a reason by itself.
    loose = {t.name: int((1 - t.share(deleted.get(t.name, 0))) * t.loose_bytes) for t in tables}
    size = sqlite_bytes(database)
    whole = replace(_FILE, heap_bytes=size, bytes=size, bloat_bytes=free)
    whole = replace(whole, loose_bytes=sum(loose.values()))
    choice = choose_file(
        whole,
        wanted,
        exact=not deleted,
        incremental=steps_possible(database),
        no_room=file_shortage(database, whole.copy_bytes(0)),
    )
    # The write-ahead log is emptied in either case; what the run itself added to it counts not.
    log = max(0, min(before, database_bytes(database)) - size)
    back = choice.gives_back + log
    reclaim = (replace(choice, gives_back=back),)
    if choice.action == "compact":
        work = replace(of_file_compaction(choice.gives_back), bytes_back=back)
        return Plan(reclaim=reclaim, estimates={None: work})
    if choice.action != "full":
        return Plan(reclaim=reclaim, estimates={None: Estimate(back)})
    work = of_file(whole, size - choice.gives_back)
    estimates: dict[str | None, Estimate] = {name: Estimate(lost) for name, lost in loose.items()}
    estimates[None] = replace(work, bytes_back=back)
    return Plan(reclaim=reclaim, estimates=estimates)
