"""Which ways are closed to a table, and in which order tables free disk for one another."""

from __future__ import annotations

from collections.abc import Mapping

from ..database.connection import Database
from ..measure import compactable
from ..measure.disk_space import places_of
from ..measure.obstacles import obstacles
from ..measure.room import Room, for_copy, for_deletes, for_index
from ..measure.sizes import TableSize
from .choices import COPYING, estimate_of, extra_of


def closed_ways(
    database: Database, room: Room | None, size: TableSize, kept: int, *, deleted_wal: int = 0
) -> dict[str, str]:
    """Say which ways are closed for a table, by their names, and why.

    Args:
        database: on PostgreSQL.
        room: what is free; None where nobody can know.
        size: the table.
        kept: bytes of it that are kept, indexes included.
        deleted_wal: bytes of WAL of deleting its rows, when that is a way too.
    """
    found = {
        "rewrite": obstacles(database, size.name, kept),
        "compact": compactable.refusals(database, size.name),
    }
    closed = {way: "; ".join(reasons) for way, reasons in found.items() if reasons}
    return {**_no_room(database, room, size, kept, deleted_wal), **closed}


def _no_room(
    database: Database, room: Room | None, size: TableSize, kept: int, deleted_wal: int
) -> dict[str, str]:
    """Say for which ways there is no room on the disks, and why."""
    if room is None:
        return {}
    places = places_of(database, size.name)
    moved = estimate_of("compact", size, kept).wal_bytes
    found = {
        **dict.fromkeys(COPYING, for_copy(room, places, kept)),
        "compact": for_index(room, places, extra_of("compact", size, kept), moved, "a compaction"),
        "delete": for_deletes(room, deleted_wal),
    }
    return {way: why for way, why in found.items() if why}


def given_back(database: Database, room: Room | None, table: str, back: int) -> Room | None:
    """Return what is free once a table has given so many bytes back."""
    if room is None or not back:
        return room
    return room.after(places_of(database, table).own, back)


def in_order(copies: Mapping[str, int]) -> list[str]:
    """Return tables such that the smallest copy comes first: what it frees, the next may need.

    Args:
        copies: bytes of each table's copy.
    """
    return sorted(copies, key=lambda table: copies[table])
