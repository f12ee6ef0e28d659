"""What is free on the disks of a database, and whether something fits there: numbers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..units import size


@dataclass(frozen=True)
class Free:
    """What a look at another host found to be free.

    Attributes:
        path: the folder that was looked at.
        disk: where the disk that holds it is mounted.
        free_bytes: on that disk.
        total_bytes: of that disk; 0 where nobody said.
    """

    path: str
    disk: str
    free_bytes: int
    total_bytes: int = 0


@dataclass(frozen=True)
class Need:
    """Bytes that something will take in a folder.

    Attributes:
        what: what for, as it stands behind the bytes.
    """

    what: str
    folder: str
    amount: float


@dataclass(frozen=True)
class Room:
    """What is free on the disks of a database, as far as it is known.

    Attributes:
        data: the data directory, or that of an SQLite file.
        wal: the folder of the WAL.
        disks: the disk of each folder.
        free: bytes, by disk.
        wal_most: bytes of WAL that the server keeps as a rule (max_wal_size).
        wal_grows: bytes that come to the WAL until the server uses its files again.
    """

    data: str
    wal: str
    disks: Mapping[str, str]
    free: Mapping[str, int]
    wal_most: int = 0
    wal_grows: int = 0

    def lacking(self, what: str, needs: Iterable[Need]) -> str:
        """Say which disk has too little room for what comes to lie on it; empty when none has.

        Args:
            what: is to fit, for the text.
            needs: of it; those in a folder whose disk is not known count as met.
        """
        on: dict[str, list[Need]] = {}
        for need in needs:
            if need.folder in self.disks:
                on.setdefault(self.disks[need.folder], []).append(need)
        for disk, there in on.items():
            if self.free[disk] < int(sum(need.amount for need in there)):
                told = " and ".join(f"{size(need.amount)} {need.what}" for need in there)
                free = f"{size(self.free[disk])} is free on the disk of {there[0].folder}"
                return f"no room for {what}: it needs {told}, {free}"
        return ""

    def after(self, location: str, back: int) -> Room:
        """Return what is free once so many bytes came back to a tablespace ('' is the default)."""
        disk = self.disks.get(location or self.data)
        if disk is None:
            return self
        return replace(self, free={**self.free, disk: self.free[disk] + back})


@dataclass(frozen=True)
class Places:
    """Where a table lies: its tablespace, that of new indexes, those of sorts; '' is the default.

    Attributes:
        index_share: of its bytes, those of its indexes.
        memory: bytes that an index build sorts without the disk (maintenance_work_mem).
    """

    own: str
    usual: str
    spill: tuple[str, ...]
    index_share: float
    memory: int = 0


def for_copy(room: Room, places: Places, copied: float) -> str:
    """Say how a copy of so many bytes, indexes included, does not fit; empty when it does."""
    indexes = copied * places.index_share
    needs = [
        Need("for the table", places.own or room.data, copied - indexes),
        Need("for its indexes", places.usual or room.data, indexes),
        # A server that writes at its full speed gets round to a checkpoint late.
        Need("of WAL", room.wal, min(copied, 2 * room.wal_most)),
    ]
    return room.lacking("the copy", [*needs, *_sorts(room, places, indexes)])


def for_index(room: Room, places: Places, index: int, wal: int, what: str = "an index") -> str:
    """Say how an index, as it is built anew, and the WAL of the work do not fit.

    Args:
        room: what is free.
        places: of its table.
        index: bytes of the new index.
        wal: bytes that are written to the WAL.
        what: is to fit, for the text.
    """
    needs = [
        Need("for an index", places.usual or room.data, index),
        Need("of WAL", room.wal, min(wal, room.wal_grows)),
    ]
    # Rows that are sorted take about twice their place in the index.
    sorts = _sorts(room, places, index) if 2 * index > places.memory else []
    return room.lacking(what, [*needs, *sorts])


def for_deletes(room: Room, wal: int) -> str:
    """Say how the WAL of deletes does not fit; empty when it does."""
    return room.lacking("deleting", [Need("of WAL", room.wal, min(wal, room.wal_grows))])


def _sorts(room: Room, places: Places, amount: float) -> list[Need]:
    # Which of several is taken is PostgreSQL's choice, so each must have the room.
    return [Need("for sorting", folder or room.data, amount) for folder in places.spill]
