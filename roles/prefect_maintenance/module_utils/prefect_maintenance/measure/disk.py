"""The disk on which the database lies: where it is, its size, and what is free."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from ..database import visibility
from ..database.connection import Database
from ..request.settings import DiskLook
from .disk_space import data_directory, folders
from .room import Free

_TABLESPACE = """
SELECT pg_tablespace_location(dattablespace) FROM pg_database WHERE datname = current_database()
"""
# POSIX: name, blocks of 1024 bytes, used, available, percent, where it is mounted.
_DF = re.compile(r"\s(\d+)\s+\d+\s+(\d+)\s+\S+\s+(/.*)")
# What stands before the answer of each folder.
_OF = re.compile(r"^= (.*?)\s*$", re.MULTILINE)


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
    """The folder of the database's files on its own server, or why it is not known.

    Attributes:
        others: folders of the server whose disks the work fills too: its WAL, its tablespaces.
    """

    path: str | None
    why: str
    others: tuple[str, ...] = ()


def place_of(database: Database) -> Place:
    """Say in which folder the files of the database lie, as its server names it."""
    if not database.is_postgresql:
        return Place(str(database.file.parent), "")
    tablespace = database.scalar(_TABLESPACE)
    if not visibility.sees_settings(database):
        role = visibility.current_role(database)
        why = visibility.advice(database, role, (visibility.SETTINGS,))
        return Place(str(tablespace), "") if tablespace else Place(None, why)
    found = folders(database, str(database.scalar("SHOW data_directory")))
    path = str(tablespace or found[0])
    return Place(path, "", tuple(one for one in found if one != path))


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
    found = dict(_answers(look)).get(look.path)
    if look.path and found:
        return Disk(look.path, 1024 * int(found[2]), 1024 * int(found[1]), look.host)
    return f"the disk of the database on {look.host} is not known: {look.why or 'df failed there'}"


def free_elsewhere(look: DiskLook) -> tuple[Free, ...]:
    """Read what `df` said is free, for each folder of which it said something."""
    return tuple(
        Free(path, found[3].strip(), 1024 * int(found[2]), 1024 * int(found[1]))
        for path, found in _answers(look)
        if path
    )


def _answers(look: DiskLook) -> Iterator[tuple[str | None, re.Match[str]]]:
    """Yield what `df` said of each folder; an answer without a name is that of the first."""
    first, *others = _OF.split(look.df)
    answers = [(look.path, first), *zip(others[::2], others[1::2], strict=True)]
    for path, answer in answers:
        if found := _DF.search(answer):
            yield path, found
