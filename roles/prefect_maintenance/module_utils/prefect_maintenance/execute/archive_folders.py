"""The folder of the archives: whether it can be written to, whether it has room, what is old."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ..database.connection import Database
from ..errors import ArchiveFailed, MaintenanceError
from ..measure.room import Need, Room
from ..request.instants import parse_instant
from . import archive_manifest
from .archive import columns_of
from .archive_gzip import zipped
from .archive_stream import stream

# Rows that tell how small a table's rows become, from about so many pages.
_ROWS, _PAGES = 500, 50
_PERCENT = """
SELECT least(100.0, 100.0 * :pages * current_setting('block_size')::int
                    / greatest(pg_relation_size(to_regclass(:t)), 1))
"""
# The rows that go may be larger than those that were looked at.
_MARGIN = 1.2


def require_writable(folder: Path) -> None:
    """Make sure that archives can be made in a folder; it is never made by itself.

    A folder that is not there is a disk that is not mounted.

    Raises:
        ArchiveFailed: they cannot.
    """
    why = ""
    if not folder.is_dir():
        why = "is not there" if not folder.exists() else "is no folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        why = "cannot be written to"
    if why:
        told = f"nothing was deleted: archive_dir {folder} {why}"
        raise ArchiveFailed(f"{told}; make it on the target, or set another")


def require_room(
    database: Database, folder: Path, rows: Mapping[str, int], room: Room | None, wal: int
) -> None:
    """Make sure that rows fit in a folder, beside the WAL of their deletion on the same disk.

    Args:
        database: where they are.
        folder: of the archives.
        rows: that go, by table.
        room: what is free on the disks of the database, as far as it is known.
        wal: bytes of WAL that the deletion writes.

    Raises:
        ArchiveFailed: they do not fit.
    """
    needs = [Need("for the archive", str(folder), estimated(database, rows))]
    room = room or Room("", "", {}, {})
    disk = str(folder.stat().st_dev)
    if room.wal in room.disks:
        needs.append(Need("of WAL", room.wal, min(wal, room.wal_grows)))
    free = {**room.free, disk: shutil.disk_usage(folder).free}
    room = replace(room, disks={**room.disks, str(folder): disk}, free=free)
    if lacking := room.lacking("the archive", needs):
        raise ArchiveFailed(f"nothing was deleted: {lacking}; free some disk there")


def estimated(database: Database, rows: Mapping[str, int]) -> int:
    """Estimate the bytes of an archive of so many rows of each table, from a few of them."""
    return int(
        _MARGIN * sum(many * _bytes_a_row(database, table) for table, many in rows.items() if many)
    )


def old(home: Path, days: int, reference: datetime) -> list[Path]:
    """Return the archives of a database that were begun more than so many days ago.

    Args:
        home: the folder of its archives.
        days: 0 is never.
        reference: they are counted back from it.
    """
    if not days or not home.is_dir():
        return []
    found = []
    for folder in sorted(home.iterdir()):
        if folder.is_symlink() or not folder.is_dir():
            continue
        manifest = archive_manifest.read(folder)
        if manifest and (reference - parse_instant(manifest.made)).days >= days:
            found.append(folder)
    return found


def remove(folder: Path) -> None:
    """Remove an archive: what its manifest names, the manifest last, and the folder if it is empty.

    Raises:
        ArchiveFailed: something of it cannot be removed.
    """
    manifest = archive_manifest.read(folder)
    if manifest is None:
        return
    try:
        (folder / archive_manifest.BESIDE).unlink(missing_ok=True)
        for name in (*(entry.name for entry in manifest.files), archive_manifest.NAME):
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise ArchiveFailed(f"the old archive {folder} cannot be removed: {error}") from None


def _bytes_a_row(database: Database, table: str) -> float:
    """Compress some rows of a table; returns how many bytes one takes."""
    taken: list[bytes] = []

    def take(lines: Callable[[], bytes]) -> None:
        taken.append(lines())

    columns = ", ".join(f'x."{name}"' for name in columns_of(database, table))
    some = f"SELECT {columns} FROM {table} x"
    rows = 0
    if database.is_postgresql:
        percent = database.scalar(_PERCENT, t=table, pages=_PAGES)
        sampled = f"{some} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0) LIMIT {_ROWS}"
        rows = stream(database, sampled, {}, take)
    rows = rows or stream(database, f"{some} LIMIT {_ROWS}", {}, take)
    return len(zipped(b"".join(taken))) / rows if rows else 0.0


def removed(home: Path, days: int, reference: datetime, *, check: bool) -> tuple[int, list[str]]:
    """Remove the old archives of a database; returns how many, and why some had to stay.

    Args:
        home: the folder of its archives.
        days: 0 keeps all.
        reference: their age is counted back from it.
        check: only say how many would be removed.
    """
    gone, told = 0, []
    for folder in old(home, days, reference):
        try:
            if not check:
                remove(folder)
            gone += 1
        except MaintenanceError as error:
            told.append(str(error))
    return gone, told
