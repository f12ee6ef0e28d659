"""What is free on the disks of a database: seen here, found on another host, or said."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..database import visibility
from ..database.connection import Database
from ..errors import MaintenanceError
from ..units import size
from .room import Free, Need, Places, Room, for_copy, for_index
from .sizes import database_bytes
from .temporary import temporary

# A rewrite of a file writes what is kept once beside it and once into it.
COPIES = 2.0

_LOCAL = ("127.0.0.1", "localhost", "::1")
# Where a table lies, and where its new indexes come to lie; '' is the data directory.
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
_LOCATIONS = """
SELECT DISTINCT pg_tablespace_location(oid) FROM pg_tablespace
WHERE pg_tablespace_location(oid) <> ''
"""
_MEMORY = "SELECT pg_size_bytes(current_setting('maintenance_work_mem'))"
_MAX_WAL = "SELECT pg_size_bytes(current_setting('max_wal_size'))"
_MAY_LIST_WAL = "SELECT has_function_privilege('pg_ls_waldir()', 'EXECUTE')"
_WAL = "SELECT sum(size) FROM pg_ls_waldir()"


class NoRoom(MaintenanceError):
    """The copy, or the WAL, would not fit."""

    remedy = "free some disk on the database server and run again"


@dataclass(frozen=True)
class Disks:
    """Where is looked for what is free: on this machine, else what is noted of another one.

    Attributes:
        noted: what was found on the host that has the disks when the run began.
        said: bytes that a person says are free; 0 where nobody does.
        bytes_then: of the database when those two were true.
    """

    database: Database
    noted: tuple[Free, ...] = ()
    said: int = 0
    bytes_then: int = 0

    def look(self) -> Room | None:
        """Return what is free now; None where nobody can know."""
        data = data_directory(self.database)
        if isinstance(data, Path):
            return _here(self.database, data)
        return _elsewhere(self) if self.noted or self.said else None


def shortage(disks: Disks, survivors: int, table: str) -> str:
    """Say how a copy of so many bytes would not fit; empty when it does or nobody can know.

    Args:
        disks: where is looked.
        survivors: bytes of the copy, indexes included.
        table: the table on PostgreSQL; its tablespace, the WAL and the sorts of its indexes are
            looked at, each on its own disk.
    """
    room = disks.look()
    if room is None:
        return ""
    return for_copy(room, places_of(disks.database, table), survivors)


def file_shortage(database: Database, survivors: int) -> str:
    """Say how VACUUM of an SQLite file would not fit; empty when it does.

    It writes the copy as a temporary file, and from there into the write-ahead log.
    """
    half = COPIES / 2 * survivors
    room = _here(database, database.file.parent)
    needs = [Need("for the copy", str(temporary()), half), Need("of WAL", room.data, half)]
    return room.lacking("the copy", needs)


def require(database: Database, what: str, survivors: int) -> None:
    """Make sure that a rewrite of an SQLite file fits on its disk.

    Args:
        database: where.
        what: how the file is called.
        survivors: bytes that are kept.

    Raises:
        NoRoom: it does not fit.
    """
    if lacking := file_shortage(database, survivors):
        raise NoRoom(
            f"{what} cannot be rewritten: {lacking}; free some disk, or shorten the retention "
            "and run again"
        )


def require_for_index(disks: Disks, table: str, index_bytes: int) -> None:
    """Make sure that a new index of a table on PostgreSQL fits, where that can be known.

    Raises:
        NoRoom: it does not fit.
    """
    room = disks.look()
    if room is None:
        return
    if lacking := for_index(room, places_of(disks.database, table), index_bytes, index_bytes):
        raise NoRoom(f"{lacking}; free some disk there and run again")


def unknown(disks: Disks) -> str | None:
    """Say why the free disk of the database cannot be seen from here; None when it is known."""
    data = data_directory(disks.database)
    if isinstance(data, Path) or disks.noted or disks.said:
        return None
    return (
        f"the free disk of the database server cannot be seen from this target: {data}. Name its "
        "host in prefect_maintenance_db_host, or the free bytes in "
        "prefect_maintenance_db_free_bytes; else look there whether a copy of what is kept fits, "
        "and where it does not, set prefect_maintenance_vacuum: compact and "
        "prefect_maintenance_purge_strategy: delete"
    )


def scarce(disks: Disks) -> list[str]:
    """Warn where deletions may fill the disk of the WAL before it is recycled.

    A server whose WAL cannot be written stops. Nothing where the disk is not known.
    """
    room = disks.look() if disks.database.is_postgresql else None
    if room is None or room.wal not in room.disks:
        return []
    free = room.free[room.disks[room.wal]]
    if free >= room.wal_grows:
        return []
    return [
        f"the disk of the WAL, {room.wal}, has {size(free)} free and the WAL may grow by "
        f"{size(room.wal_grows)} (max_wal_size): free some disk before much is deleted"
    ]


def places_of(database: Database, table: str) -> Places:
    """Return where a table of PostgreSQL, its new indexes and their sorts come to lie."""
    own, usual, indexes, whole = database.rows(_TABLESPACES, t=table)[0]
    spill = tuple(row[0] for row in database.rows(_SPILL))
    memory = int(database.scalar(_MEMORY))
    return Places(own, usual, spill, indexes / whole if whole else 0.0, memory)


def folders(database: Database, data: str) -> list[str]:
    """Return the folders on whose disks files of a PostgreSQL server lie, the WAL's second."""
    return [data, f"{data}/pg_wal", *(row[0] for row in database.rows(_LOCATIONS))]


def _here(database: Database, data: Path) -> Room:
    """Look at the disks of this machine."""
    if not database.is_postgresql:
        both = (data, temporary())
        disks = {str(one): str(one.stat().st_dev) for one in both}
        free = {disks[str(one)]: shutil.disk_usage(one).free for one in both}
        return Room(str(data), str(data), disks, free)
    there, link, *spaces = (Path(folder) for folder in folders(database, str(data)))
    # It may lead to another disk; that is the one to name.
    wal = link.resolve()
    disks = {str(one): str(one.stat().st_dev) for one in (there, wal, *spaces)}
    free = {disk: shutil.disk_usage(one).free for one, disk in disks.items()}
    held = sum(_size(entry) for entry in wal.iterdir())
    return _room(database, str(there), str(wal), disks, free, held)


def _size(entry: Path) -> int:
    """Return the bytes of a file; a WAL file may be renamed while we look."""
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except FileNotFoundError:
        return 0


def _elsewhere(disks: Disks) -> Room:
    """Go by what is noted or said, and by what the database has grown or shrunk since."""
    database = disks.database
    data = "the data directory"
    if visibility.sees_settings(database):
        data = str(database.scalar("SHOW data_directory"))
    there, wal, *spaces = folders(database, data)
    since = database_bytes(database) - disks.bytes_then
    held = int(database.scalar(_WAL)) if database.scalar(_MAY_LIST_WAL) else 0
    if disks.noted:
        on = {one.path: one.disk for one in disks.noted}
        free = {one.disk: one.free_bytes for one in disks.noted}
        free[disks.noted[0].disk] -= since
    else:
        on = dict.fromkeys((there, wal, *spaces), "its")
        free = {"its": disks.said - since}
    return _room(database, there, wal, on, free, held)


def _room(
    database: Database, data: str, wal: str, disks: dict[str, str], free: dict[str, int], held: int
) -> Room:
    """Return what is free; `held` are the bytes of the WAL that are there."""
    most = int(database.scalar(_MAX_WAL))
    return Room(data, wal, disks, free, most, max(0, most - held))


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
