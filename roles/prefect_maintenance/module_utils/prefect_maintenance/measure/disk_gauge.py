"""How much of the fullest disk of a database is free while work goes on, seen here or reckoned.

The disks of another machine are looked at once, when the run begins, or a person says what is free
there. What the database and the WAL have grown by since then is taken off that.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from .disk_space import Disks, data_directory
from .room import Free


@dataclass(frozen=True)
class Part:
    """A disk elsewhere as it was when the run began.

    Attributes:
        name: the folder that was looked at.
        grows_with: what comes to lie there: "database", "wal".
    """

    name: str
    free_bytes: int
    total_bytes: int
    grows_with: frozenset[str]


@dataclass
class Gauge:
    """Says how much is free of the fullest disk.

    Attributes:
        folders: of this machine, on the database's disks.
        parts: disks of another one, where there are none here.
        bytes_then: of the database when those were looked at.
    """

    folders: tuple[Path, ...] = ()
    parts: tuple[Part, ...] = ()
    bytes_then: int = 0
    _wal_then: int | None = None

    def fullest(self, size: int | None, wal: int | None) -> tuple[str, float] | None:
        """Return the name of the fullest disk and the percent of it that is free, where known.

        Args:
            size: bytes of the database now; None where the disks are seen here.
            wal: bytes of all WAL files now; None where the role may not see them.
        """
        if self._wal_then is None:
            self._wal_then = wal
        grown = {
            "database": (size or 0) - self.bytes_then,
            "wal": (wal or 0) - (self._wal_then or 0),
        }
        found = [(str(folder), _free_percent(folder)) for folder in self.folders]
        for part in self.parts:
            free = part.free_bytes - sum(grown[what] for what in part.grows_with)
            found.append((part.name, 100 * max(0, free) / part.total_bytes))
        return min(found, key=lambda one: one[1], default=None)


def gauge_of(disks: Disks) -> Gauge:
    """Return the gauge of the disks of a PostgreSQL database, as far as anybody knows them."""
    data = data_directory(disks.database)
    if isinstance(data, Path):
        return Gauge(folders=(data, data / "pg_wal"))
    if disks.said and not disks.noted:
        # Its disk holds at least the database itself.
        whole = disks.said + disks.bytes_then
        both = frozenset({"database", "wal"})
        return Gauge((), (Part("the database", disks.said, whole, both),), disks.bytes_then)
    own, parts = next(iter(disks.noted), None), []
    for disk, there in groupby(sorted(disks.noted, key=_disk), key=_disk):
        folders = list(there)
        grows = {"database"} if own and own.disk == disk else set()
        grows |= {"wal" for one in folders if one.path.endswith("/pg_wal")}
        first = folders[0]
        if first.total_bytes:
            parts.append(Part(first.path, first.free_bytes, first.total_bytes, frozenset(grows)))
    return Gauge((), tuple(parts), disks.bytes_then)


def _disk(one: Free) -> str:
    return one.disk


def _free_percent(folder: Path) -> float:
    disk = shutil.disk_usage(folder)
    return 100 * disk.free / disk.total
