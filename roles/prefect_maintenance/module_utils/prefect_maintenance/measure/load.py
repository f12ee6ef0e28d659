"""What a PostgreSQL server has to bear at a moment, and how that is read from its answer."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

_SEGMENT = re.compile(r"[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})")


@dataclass(frozen=True)
class Standby:
    """A standby and what it is behind; None where that is hidden or not known."""

    name: str
    bytes: int | None
    seconds: float | None = None


@dataclass(frozen=True)
class Slot:
    """A replication slot.

    Attributes:
        active: whether somebody reads it.
        safe_bytes: WAL that may be written before it is lost; None without a limit.
        status: PostgreSQL's word for its WAL.
    """

    name: str
    active: bool
    safe_bytes: int | None
    status: str | None


@dataclass(frozen=True)
class Autovacuum:
    """One worker of autovacuum.

    Attributes:
        table: that it is at work on; None where that is hidden.
        pid: of the worker.
        urgent: whether it keeps transaction ids from wrapping around, and gives way to nobody.
    """

    table: str | None
    pid: int
    urgent: bool = False


@dataclass(frozen=True)
class Load:
    """One look at a server.

    Attributes:
        slot_keep: WAL that a slot may hold back; below 0 any.
        archive: WAL segments that wait for the archive; None where that is not known.
        archive_fails: whether the last attempt to archive one failed.
        wal: bytes of all WAL files; None where the role may not see them.
        disk: the folder of the database's disk that has the least free, where that is known.
        free_percent: of that disk.
        active: sessions of others that are at work in this database, as far as they can be seen.
        vacuumed: what autovacuum is at work on in this database.
    """

    standbys: tuple[Standby, ...] = ()
    slots: tuple[Slot, ...] = ()
    slot_keep: int = -1
    archive: int | None = None
    archive_fails: bool = False
    wal: int | None = None
    disk: str | None = None
    free_percent: float | None = None
    active: int = 0
    vacuumed: tuple[Autovacuum, ...] = ()

    def without(self, tables: Collection[str]) -> Load:
        """Return the same look, as if no autovacuum were at work on some tables."""
        return replace(self, vacuumed=tuple(v for v in self.vacuumed if v.table not in tables))


def load_of(seen: Mapping[str, Any], fullest: tuple[str, float] | None = None) -> Load:
    """Return a look from what the server answered.

    Args:
        seen: its answer.
        fullest: the disk of the database that has the least free, and the percent of it.
    """
    disk, percent = fullest or (None, None)
    last, failed, fails = seen["archiver"]
    return Load(
        standbys=tuple(Standby(*one) for one in seen["standbys"] or ()),
        slots=tuple(Slot(*one) for one in seen["slots"] or ()),
        slot_keep=seen["slot_keep"],
        archive=_waiting(seen, last, failed if fails else None) if seen["archives"] else 0,
        archive_fails=bool(seen["archives"] and fails),
        wal=seen["wal"],
        disk=disk,
        free_percent=percent,
        active=seen["active"],
        vacuumed=tuple(Autovacuum(*one) for one in seen["vacuumed"] or ()),
    )


def _waiting(seen: Mapping[str, Any], last: str | None, failed: str | None) -> int | None:
    """Count the segments that wait: their marks, else those between the last one and the present.

    The last one that failed is the oldest that waits.
    """
    if seen["ready"] is not None:
        return int(seen["ready"])
    now, begin = (_SEGMENT.fullmatch(name or "") for name in (seen["segment"], failed or last))
    if now is None or begin is None:
        return None
    each = 2**32 // seen["segment_bytes"]
    first, end = (int(name[1], 16) * each + int(name[2], 16) for name in (begin, now))
    waiting: int = end - first - (0 if failed else 1)
    return max(0, waiting)
