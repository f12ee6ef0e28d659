"""Whether a copy of what is kept fits on the disks, where that can be known."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..database import visibility
from ..database.connection import Database
from ..errors import MaintenanceError
from ..units import size
from .temporary import temporary

# A rewrite writes the survivors once into the new files and once into the WAL.
COPIES = 2.0

_LOCAL = ("127.0.0.1", "localhost", "::1")
# Where the copy of a table comes to lie, and where its indexes do; '' is the data directory.
_TABLESPACES = """
SELECT pg_tablespace_location(CASE c.reltablespace WHEN 0 THEN d.dattablespace
                              ELSE c.reltablespace END),
       pg_tablespace_location(d.dattablespace),
       pg_indexes_size(c.oid), pg_total_relation_size(c.oid)
FROM pg_class c, pg_database d
WHERE c.oid = to_regclass(:t) AND d.datname = current_database()
"""
# Sorts of an index build spill into any of these; into the database's own when none is set.
_SPILL = """
SELECT DISTINCT pg_tablespace_location(t.oid)
FROM pg_tablespace t, pg_database d,
     unnest(string_to_array(replace(current_setting('temp_tablespaces'), '"', ''), ',')) n
WHERE d.datname = current_database()
  AND (t.spcname = trim(n) OR (trim(n) = '' AND t.oid = d.dattablespace))
"""
_MAX_WAL = "SELECT pg_size_bytes(current_setting('max_wal_size'))"


class NoRoom(MaintenanceError):
    """The copy would not fit."""


@dataclass(frozen=True)
class _Need:
    """Bytes that something will take in a folder."""

    what: str
    folder: Path
    amount: float


def shortage(database: Database, survivors: int, table: str | None = None) -> str | None:
    """Say how a copy of so many bytes would not fit; None when it does or nobody can know.

    Args:
        database: where.
        survivors: bytes of the copy, indexes included.
        table: the table on PostgreSQL; its tablespace, the WAL and the sorts of its indexes are
            looked at, each on its own disk. Without it everything counts for the data directory.
    """
    data = data_directory(database)
    if isinstance(data, str):
        return None
    needs = [_Need("the data", data, COPIES * survivors)]
    if not database.is_postgresql:
        # VACUUM writes the copy as a temporary file and from there into the write-ahead log.
        half = COPIES / 2 * survivors
        needs = [_Need("the copy", temporary(), half), _Need("the write-ahead log", data, half)]
    elif table is not None:
        needs = _needs(database, data, table, survivors)
    return _lacking(needs)


def require(database: Database, what: str, survivors: int) -> None:
    """Make sure that a copy of so many bytes fits, where that can be known.

    Args:
        database: where.
        what: the table on PostgreSQL, else how the file is called.
        survivors: bytes of the copy, indexes included.

    Raises:
        NoRoom: it does not fit.
    """
    table = what if database.is_postgresql else None
    if lacking := shortage(database, survivors, table):
        raise NoRoom(
            f"{what} cannot be rewritten: {lacking}; free some disk, or shorten the retention "
            "and run again"
        )


def unknown(database: Database) -> str | None:
    """Say why the free disk of the database cannot be seen from here; None when it can."""
    data = data_directory(database)
    if isinstance(data, Path):
        return None
    return (
        f"the free disk of the database server cannot be seen from this target: {data}. Look "
        "there whether a copy of what is kept fits; where it does not, set "
        "prefect_maintenance_vacuum: plain and prefect_maintenance_purge_strategy: delete"
    )


def scarce(database: Database) -> list[str]:
    """Warn where deletions may fill the disk of the WAL before it is recycled.

    A server whose WAL cannot be written stops. Nothing where the disk cannot be seen.
    """
    data = data_directory(database)
    if isinstance(data, str) or not database.is_postgresql:
        return []
    folder = (data / "pg_wal").resolve()
    there = sum(_size(entry) for entry in folder.iterdir())
    grows = int(database.scalar(_MAX_WAL)) - there
    free = shutil.disk_usage(folder).free
    if free >= grows:
        return []
    return [
        f"the disk of the WAL, {folder}, has {size(free)} free and the WAL may grow by "
        f"{size(grows)} (max_wal_size): free some disk before much is deleted"
    ]


def _needs(database: Database, data: Path, table: str, survivors: int) -> list[_Need]:
    """List what a rewrite takes, and where."""
    found = database.rows(_TABLESPACES, t=table)
    if not found:
        return []
    own, usual, indexes, whole = found[0]
    of_indexes = survivors * (indexes / whole if whole else 0.0)
    files = COPIES / 2
    needs = [
        _Need("the table", _folder(data, own), files * (survivors - of_indexes)),
        _Need("its indexes", _folder(data, usual), files * of_indexes),
        _Need("the WAL", data / "pg_wal", files * survivors),
    ]
    # Which of several is taken is PostgreSQL's choice, so each must have the room.
    spill = [_folder(data, row[0]) for row in database.rows(_SPILL)]
    return [*needs, *(_Need("sorting", folder, files * of_indexes) for folder in spill)]


def _folder(data: Path, location: str) -> Path:
    return Path(location) if location else data


def _lacking(needs: Iterable[_Need]) -> str | None:
    """Say which disk has too little room for all that comes to lie on it."""
    disks: dict[int, list[_Need]] = {}
    for need in needs:
        disks.setdefault(need.folder.stat().st_dev, []).append(need)
    for there in disks.values():
        needed = int(sum(need.amount for need in there))
        free = shutil.disk_usage(there[0].folder).free
        if free < needed:
            what = ", ".join(dict.fromkeys(need.what for need in there))
            folder = there[0].folder.resolve()
            return (
                f"no room for the copy: {size(needed)} needed, {size(free)} free "
                f"on the disk of {folder} ({what})"
            )
    return None


def _size(entry: Path) -> int:
    """Return the bytes of a file; a WAL file may be renamed while we look."""
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except FileNotFoundError:
        return 0


def data_directory(database: Database) -> Path | str:
    """Return the folder of the data when it is on this machine and may be looked at, else why."""
    if not database.is_postgresql:
        return database.file.parent
    host = str(database.url.host or database.url.query.get("host") or "")
    if host not in _LOCAL and not host.startswith("/"):
        return "it runs on another machine"
    if not visibility.sees_settings(database):
        role = visibility.current_role(database)
        return visibility.advice(database, role, (visibility.SETTINGS,))
    directory = Path(str(database.scalar("SHOW data_directory")))
    # The same path on this machine must hold this very server's files.
    started = database.scalar("SELECT pg_postmaster_start_time()")
    try:
        written = (directory / "postmaster.pid").stat().st_mtime
    except PermissionError:
        return f"user {os.geteuid()} may not look into {directory}; run as root or its owner"
    except OSError:
        return "its data directory is not on this machine"
    if abs(started.timestamp() - written) >= 60:
        return "its data directory is not on this machine"
    return directory
