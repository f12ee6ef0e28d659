"""Rows are archived before they go: whoever deletes them hands them over in the same transaction.

A DELETE returns its rows to the archive; what a foreign key takes along is read before, under the
locks of the deletion. Before the transaction commits, all of it is compressed, written, synced,
read back and named by the manifest. So no row can go that the archive does not have, whoever
changed what meanwhile; an archive that fails takes the deletion back.

After a commit that failed the archive has rows that are still there, which does no harm.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..database.connection import Database
from ..errors import ArchiveFailed, MaintenanceError
from ..plan.plan import Reason
from ..plan.rules import Rules
from ..plan.went_by import WentBy
from . import archive_manifest
from .archive_file import ArchiveFile
from .archive_gzip import Unreadable
from .archive_manifest import Entry, Manifest
from .archive_stream import stream

_POSTGRESQL_COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass(:t) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_SQLITE_COLUMNS = "SELECT name FROM pragma_table_info(:t) ORDER BY cid"
# Threads that compress, beside the one that reads.
_THREADS = max(1, min(4, (os.cpu_count() or 1) - 1))


class Archive:
    """The archive of one run on one database; nothing is written before the first row comes.

    Attributes:
        home: the folder of all archives of this database.
        manifest: what the archive says of itself.
        folder: of this run; None before the first row.
    """

    def __init__(
        self, home: Path, manifest: Manifest, naming: Callable[[Rules], Mapping[str, WentBy]]
    ) -> None:
        self.home = home
        self.manifest = manifest
        self.folder: Path | None = None
        self._earlier: tuple[Entry, ...] = ()
        self._files: dict[str, ArchiveFile] = {}
        self._of_table: dict[str, tuple[str, ...]] = {}
        self._taken: dict[str, int] = {}
        self._failure: ArchiveFailed | None = None
        self._workers = ThreadPoolExecutor(_THREADS)
        self._naming = naming
        self._went_by: Mapping[str, WentBy] = {}

    def explain(self, reasons: Iterable[Reason], rules: Rules) -> None:
        """Note why rows go, and write beside each row of some tables which rule lets it go."""
        self._went_by = self._naming(rules)
        told = tuple({"table": r.what, "rows": r.rows, "why": r.why} for r in reasons)
        self.manifest = replace(self.manifest, reasons=told)

    def take(self, database: Database, table: str, sql: str, values: Mapping[str, Any]) -> int:
        """Archive the rows of a statement: see `Keeper`.

        Raises:
            ArchiveFailed: now or before; nothing more is deleted in this run.
        """
        if self._failure:
            raise self._failure
        columns = self._columns(database, table)
        if "{columns}" in sql:
            listed = [*(f'x."{name}"' for name in columns), *self._rule(table, "x")]
            sql = sql.replace("{columns}", ", ".join(listed))
        else:
            # SQLite does not know the alias of a row that it returns.
            alias = "x" if database.is_postgresql else table
            listed = [*(f'"{name}"' for name in columns), *self._rule(table, alias)]
            sql += " RETURNING " + ", ".join(listed)
        if table in self._went_by:
            values = {**self._went_by[table].values, **values}
        try:
            rows = stream(
                database, sql, values, lambda lines: self._file(table, columns).write(lines)
            )
        except (OSError, Unreadable) as error:
            raise self._failed(error) from None
        self._taken[table] = self._taken.get(table, 0) + rows
        return rows

    def keep(self) -> None:
        """Make safe what was taken since the last time.

        Raises:
            ArchiveFailed: it is not; what would delete these rows is to be taken back.
        """
        if not any(self._taken.values()):
            return
        try:
            for table, rows in self._taken.items():
                if rows:
                    self._files[table].keep(rows)
            self._note()
        except (OSError, MaintenanceError) as error:
            raise self._failed(error) from None
        self._taken.clear()

    def drop(self) -> None:
        """Forget what was taken: its deletion was taken back."""
        for table in self._taken:
            if table in self._files:
                self._files[table].drop()
        self._taken.clear()

    def close(self, deleted: Mapping[str, int], ended: str) -> None:
        """Close the files, and note how many rows went.

        Raises:
            ArchiveFailed: that cannot be written.
        """
        self._workers.shutdown()
        if self.folder is None:
            return
        before = self.manifest.deleted or {}
        rows = {table: before.get(table, 0) + rows for table, rows in deleted.items()}
        self.manifest = replace(self.manifest, deleted={**before, **rows}, ended=ended)
        try:
            for file in self._files.values():
                file.close()
            self._note()
        except (OSError, MaintenanceError) as error:
            raise self._failed(error) from None

    def _rule(self, table: str, alias: str) -> list[str]:
        """Write what names the rule of a row; nothing where no rule decides about the table."""
        return [self._went_by[table].of(alias)] if table in self._went_by else []

    def _columns(self, database: Database, table: str) -> tuple[str, ...]:
        if table not in self._of_table:
            self._of_table[table] = columns_of(database, table)
        return self._of_table[table]

    def _file(self, table: str, columns: tuple[str, ...]) -> ArchiveFile:
        """Return the file of a table, made where this step has none yet."""
        if table not in self._files:
            folder = self._folder()
            number = 1
            while table not in self._files:
                name = f"{table}.jsonl.gz" if number == 1 else f"{table}.{number}.jsonl.gz"
                number += 1
                try:
                    self._files[table] = ArchiveFile(
                        folder / name, table, columns, self._workers, ruled=table in self._went_by
                    )
                except FileExistsError:
                    continue
            archive_manifest.sync(folder)
        return self._files[table]

    def _folder(self) -> Path:
        """Make the folder of this run, or go on in it where an earlier step has made it."""
        if self.folder is not None:
            return self.folder
        stamp = re.sub(r"[^0-9TZ]", "", re.sub(r"\.\d+", "", self.manifest.run))
        self.home.mkdir(exist_ok=True)
        archive_manifest.sync(self.home.parent)
        folder, number = self.home / stamp, 1
        while not self._resumed(folder):
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
                folder = self.home / f"{stamp}-{number}"
            else:
                break
        archive_manifest.sync(self.home)
        self.folder = folder
        return folder

    def _resumed(self, folder: Path) -> bool:
        """Go on with the archive in a folder, if an earlier step of this run has begun it."""
        found = archive_manifest.read(folder)
        own = self.manifest
        if found is None or (found.run, found.database) != (own.run, own.database):
            return False
        self._earlier = found.files
        reasons = (*found.reasons, *own.reasons)
        self.manifest = replace(own, reasons=reasons, made=found.made, deleted=found.deleted)
        return True

    def _note(self) -> None:
        """Write the manifest of what is kept so far."""
        files = [
            Entry(
                name=file.path.name,
                table=file.table,
                columns=file.columns,
                rows=file.rows,
                bytes=file.bytes,
                sha256=file.sha256,
                by_rule=None if file.by_rule is None else dict(file.by_rule),
            )
            for file in self._files.values()
            if file.rows
        ]
        self.manifest = replace(self.manifest, files=(*self._earlier, *files))
        archive_manifest.write(self._folder(), self.manifest)

    def _failed(self, error: Exception) -> ArchiveFailed:
        told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._failure = ArchiveFailed(
            f"rows could not be archived in {self.folder or self.home}: {told}; they were not "
            "deleted, look at the folder and run again"
        )
        return self._failure


def columns_of(database: Database, table: str) -> tuple[str, ...]:
    """Return the names of a table's columns."""
    sql = _POSTGRESQL_COLUMNS if database.is_postgresql else _SQLITE_COLUMNS
    return tuple(row[0] for row in database.rows(sql, t=table))
