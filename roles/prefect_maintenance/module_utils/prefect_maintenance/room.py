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


def prove(database: Database, table: str, survivors: int) -> list[str]:
    """Make sure that a copy of so many bytes fits; returns a warning where nobody can know.

    Raises:
        NoRoom: it does not fit.
    """
    directory = _data_directory(database)
    if directory is None:
        return [f"free disk of the database server is unknown from here; {table} was rewritten"]
    require(directory, survivors, table)
    return []


def require(directory: Path, survivors: int, what: str) -> None:
    """Make sure that the disk of a folder has room for a copy of so many bytes.

    Raises:
        NoRoom: it has not.
    """
    free, needed = shutil.disk_usage(directory).free, int(COPIES * survivors)
    if free < needed:
        raise NoRoom(
            f"no room to rewrite {what}: {shown(needed)} needed, {shown(free)} free; "
            "free some disk or purge more first"
        )


def shown(value: int) -> str:
    """Return bytes as people read them."""
    return str(humanize.naturalsize(value, binary=True))


def _data_directory(database: Database) -> Path | None:
    """Return the server's data directory when it is on this machine and may be looked at."""
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
