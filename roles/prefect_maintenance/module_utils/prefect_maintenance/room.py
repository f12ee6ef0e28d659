"""Whether a copy of what is kept fits on the disk, where that can be known."""

from __future__ import annotations

import shutil
from pathlib import Path

import humanize

from .connection import Database
from .errors import MaintenanceError, PrivilegeError

# A rewrite writes the survivors once into the new files and once into the WAL.
COPIES = 2.0


class NoRoom(MaintenanceError):
    """The copy would not fit."""


def shortage(database: Database, survivors: int) -> str | None:
    """Say how a copy of so many bytes would not fit; None when it does or nobody can know."""
    directory = _data_directory(database)
    if directory is None:
        return None
    free, needed = shutil.disk_usage(directory).free, int(COPIES * survivors)
    if free >= needed:
        return None
    return f"no room for the copy: {_shown(needed)} needed, {_shown(free)} free"


def require(database: Database, what: str, survivors: int) -> None:
    """Make sure that a copy of so many bytes fits, where that can be known.

    Raises:
        NoRoom: it does not fit.
    """
    if lacking := shortage(database, survivors):
        raise NoRoom(f"{what} cannot be rewritten: {lacking}; free some disk or purge more first")


def is_known(database: Database) -> bool:
    """Tell whether the free disk of the database can be seen from here."""
    return _data_directory(database) is not None


def _shown(value: int) -> str:
    return str(humanize.naturalsize(value, binary=True))


def _data_directory(database: Database) -> Path | None:
    """Return the folder of the data when it is on this machine and may be looked at."""
    if not database.is_postgresql:
        return database.file.parent
    host = database.url.host or database.url.query.get("host") or ""
    if str(host) not in ("127.0.0.1", "localhost", "::1") and not str(host).startswith("/"):
        return None
    try:
        directory = Path(str(database.scalar("SHOW data_directory")))
        # The same path on this machine must hold this very server's files.
        started = database.scalar("SELECT pg_postmaster_start_time()")
        written = (directory / "postmaster.pid").stat().st_mtime
    except (PrivilegeError, OSError):
        return None
    return directory if abs(started.timestamp() - written) < 60 else None
