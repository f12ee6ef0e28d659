"""What an archive says of itself: which rows, of which database, why they went, and their sums.

It is written anew with each batch and names the part of each file that was verified. Whoever is
killed leaves a manifest that is true; what a file has beyond it was never kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import MaintenanceError
from ..plan.rule_names import LISTS
from .archive_lines import WENT_BY

NAME = "manifest.json"
# What a run that was killed, or had no room, may leave of writing it.
BESIDE = f".{NAME}.new"
_KIND, _FORM = "rows archived by prefect_maintenance", 2
# Of this tool, as collection/galaxy.yml has it.
VERSION = "0.1.0"


@dataclass(frozen=True)
class Entry:
    """One file of an archive.

    Attributes:
        name: in the folder of the manifest.
        columns: in the order of the values of each line.
        bytes: that belong to it, from its beginning.
        sha256: of these bytes.
        by_rule: rows by the rule that let them go, which each line names last; None where they
            name none. Rows that went with another one, or after it, have none.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str
    by_rule: Mapping[str, int] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the values of a line are, in their order."""
        return self.columns if self.by_rule is None else (*self.columns, WENT_BY)


@dataclass(frozen=True)
class Manifest:
    """An archive of one run on one database.

    Attributes:
        host: name of the server in the inventory.
        database: its name, or the path of the file.
        revision: of Prefect's schema.
        run: when the run began.
        made: when the archive was begun.
        ended: when its last step ended; empty while it works, or after it was killed.
        cutoffs: by entity, the instant before which a row might go.
        policy: days and states.
        rules: the rules of retention, as they were asked for.
        reasons: why rows were to go: table, number of rows and reason, as planned.
        deleted: rows that left each table; an archive may hold a few more, which stayed.
    """

    host: str
    database: str
    dialect: str
    server: str
    revision: str
    run: str
    made: str
    cutoffs: Mapping[str, str]
    policy: Mapping[str, Any]
    rules: Mapping[str, Any]
    reasons: tuple[Mapping[str, Any], ...] = ()
    files: tuple[Entry, ...] = ()
    deleted: Mapping[str, int] | None = None
    ended: str = ""
    tool: str = VERSION

    def rules_named(self, name: str | None) -> set[str]:
        """Return what lines call the rules of a name."""
        return {called for called, its_name in self._rules_by_call.items() if its_name == name}

    @property
    def rule_names(self) -> set[str]:
        """The names of all rules that were in force."""
        return set(self._rules_by_call.values())

    def name_of(self, called: str) -> str:
        """Return the name of a rule that a line calls so."""
        return self._rules_by_call.get(called, called)

    @property
    def _rules_by_call(self) -> dict[str, str]:
        return {
            f"{kind} {rule['number']}": rule["name"]
            for kind, listed in LISTS.items()
            for rule in self.rules.get(listed, ())
        }

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(entry.rows for entry in self.files)

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.files)


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder so that the disk has the old or the new one, and read it.

    Raises:
        OSError: it cannot be written.
        MaintenanceError: something else is there than was written.
    """
    beside = folder / BESIDE
    with beside.open("w", encoding="utf-8") as file:
        json.dump({"kind": _KIND, "form": _FORM, **asdict(manifest)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(folder / NAME)
    sync(folder)
    if read(folder) != manifest:
        told = f"{folder / NAME} was read back and is not what was written"
        raise MaintenanceError(f"{told}; check the disk of archive_dir")


def read(folder: Path) -> Manifest | None:
    """Read the manifest of a folder; None where there is none of ours.

    Raises:
        MaintenanceError: it is ours and cannot be understood.
    """
    path = folder / NAME
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or told.pop("kind", None) != _KIND:
        return None
    if (form := told.pop("form", None)) not in range(1, _FORM + 1):
        told = f"{path} has form {form}, this tool reads forms up to {_FORM}"
        raise MaintenanceError(f"{told}; use the version that wrote it")
    try:
        files = tuple(
            Entry(**{**entry, "columns": tuple(entry["columns"])}) for entry in told["files"]
        )
        manifest = Manifest(**{**told, "files": files, "reasons": tuple(told["reasons"])})
    except (TypeError, KeyError) as error:
        raise MaintenanceError(f"{path} is damaged: {error}") from None
    for entry in files:
        if "/" in entry.name or entry.name.startswith("."):
            told = f"{path} names a file of another folder: {entry.name}"
            raise MaintenanceError(f"{told}; somebody has changed it, use a copy of the archive")
    return manifest


def sync(folder: Path) -> None:
    """Make the disk know the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
