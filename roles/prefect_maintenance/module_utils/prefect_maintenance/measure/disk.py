"""The disk on which the database lies: where it is, its size, and what is free."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

from ..database import visibility
from ..database.connection import Database
from ..request.settings import DiskLook
from .disk_space import data_directory

_TABLESPACE = """
SELECT pg_tablespace_location(dattablespace) FROM pg_database WHERE datname = current_database()
"""
# POSIX: name, blocks of 1024 bytes, used, available, percent, where it is mounted.
_DF = re.compile(r"\s(\d+)\s+\d+\s+(\d+)\s+\S+\s+/")


@dataclass(frozen=True)
class Disk:
    """The file system that holds the database.

    Attributes:
        path: the folder that was looked at.
        where: the host that has it.
    """

    path: str
    free_bytes: int
    total_bytes: int
    where: str


@dataclass(frozen=True)
class Place:
    """The folder of the database's files on its own server, or why it is not known."""

    path: str | None
    why: str


def place_of(database: Database) -> Place:
    """Say in which folder the files of the database lie, as its server names it."""
    if not database.is_postgresql:
        return Place(str(database.file.parent), "")
    if tablespace := database.scalar(_TABLESPACE):
        return Place(str(tablespace), "")
    if not visibility.sees_settings(database):
        role = visibility.current_role(database)
        return Place(None, visibility.advice(database, role, (visibility.SETTINGS,)))
    return Place(str(database.scalar("SHOW data_directory")), "")


def own_disk(database: Database) -> Disk | None:
    """Return the disk of a database on this very machine; None where it cannot be seen."""
    if isinstance(data_directory(database), str):
        return None
    path = place_of(database).path
    if path is None:
        return None
    usage = shutil.disk_usage(path)
    return Disk(path, usage.free, usage.total, "the target")


def disk_elsewhere(look: DiskLook) -> Disk | str:
    """Read what `df` said on the host that has the disk; returns why when it said nothing."""
    found = _DF.search(look.df)
    if look.path and found:
        return Disk(look.path, 1024 * int(found[2]), 1024 * int(found[1]), look.host)
    return f"the disk of the database on {look.host} is not known: {look.why or 'df failed there'}"
