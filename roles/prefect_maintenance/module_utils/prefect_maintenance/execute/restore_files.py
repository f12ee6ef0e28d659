"""Archives as they are found: which there are, whether they are whole, and their rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import MaintenanceError, SettingsError, Unsupported
from ..request.values import short
from . import archive_manifest
from .archive_file import blocks
from .archive_gzip import Unreadable, unzipped
from .archive_lines import values
from .archive_manifest import Entry, Manifest

# Folders below the one that is named: of a host, and of a run.
_DEEP = ("*", "*/*")

Found = tuple[Path, Manifest]


def find(folder: Path) -> list[Found]:
    """Return the archive in a folder, or all those below it, the oldest first.

    Raises:
        SettingsError: there is none.
    """
    places = [folder, *(place for deep in _DEEP for place in sorted(folder.glob(deep)))]
    found = [(place, manifest) for place in places if (manifest := archive_manifest.read(place))]
    if not found:
        told = f"there is no archive in {folder}: no {archive_manifest.NAME} of ours"
        raise SettingsError(f"{told}; name the folder of an archive, or one above it")
    return sorted(found, key=lambda one: (one[1].run, one[1].made))


def require_same(archives: Iterable[Found], dialect: str, revision: str) -> None:
    """Make sure that a database has the tables that the rows of archives were taken from.

    Raises:
        Unsupported: it is of another dialect, or its schema of another revision.
    """
    for folder, manifest in archives:
        if (manifest.dialect, manifest.revision) != (dialect, revision):
            raise Unsupported(
                f"{folder} is of {manifest.dialect} with schema revision {manifest.revision}, the "
                f"database is {dialect} with {revision}; use a database that has the "
                "archive's revision"
            )


def require_rule(archives: Iterable[Found], rule: str) -> None:
    """Make sure that a rule of that name let rows of an archive go.

    Raises:
        SettingsError: none did.
    """
    known = {name for _, manifest in archives for name in manifest.rule_names}
    if rule not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise SettingsError(
            f"no rule of the archives has the name {short(rule)}; those that have one: {listed}"
        )


def verify(archives: Iterable[Found]) -> None:
    """Make sure that every file of archives is what was written.

    Raises:
        Unreadable: one is not there, or something else.
    """
    for folder, manifest in archives:
        for entry in manifest.files:
            found, length = hashlib.sha256(), 0
            with _opened(folder / entry.name) as descriptor:
                for block in blocks(descriptor, 0, entry.bytes):
                    found.update(block)
                    length += len(block)
            if (length, found.hexdigest()) != (entry.bytes, entry.sha256):
                raise Unreadable(
                    f"{folder / entry.name} is not what was archived: its SHA-256 differs from "
                    "that in the manifest; nothing was restored"
                )


def files_of(archives: Iterable[Found], table: str) -> Iterator[tuple[Path, Entry, Manifest]]:
    """Yield the files of all archives that have rows of a table, and what is said of each."""
    for folder, manifest in archives:
        for entry in manifest.files:
            if entry.table == table:
                yield folder / entry.name, entry, manifest


def rows_in(path: Path, entry: Entry) -> Iterator[list[Any]]:
    """Yield the rows of a file.

    Raises:
        Unreadable: it has others than the manifest says.
    """
    found = 0
    with _opened(path) as descriptor:
        lines = map(values, _lines(unzipped(blocks(descriptor, 0, entry.bytes))))
        if next(lines, None) != list(entry.names):
            raise Unreadable(f"{path} has other columns than its manifest says")
        for row in lines:
            found += 1
            yield row
    if found != entry.rows:
        raise Unreadable(f"{path} has {found} rows, its manifest says {entry.rows}")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        told = f"{path} of the archive cannot be read: {error.strerror}"
        raise MaintenanceError(f"{told}; check its owner and mode") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
