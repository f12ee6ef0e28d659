"""What was done so far, kept while a step runs so that nothing is lost however it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import ConnectionFailed, MaintenanceError, StepFailed, Stopped


@dataclass(frozen=True)
class TableResult:
    """What became of one table: rows that left it, how, at what price, or why not.

    Attributes:
        ways: rows that went in each way; they add up to `rows`.
        wal_bytes: WAL that the whole server wrote meanwhile.
    """

    table: str
    rows: int
    ways: Mapping[str, int]
    seconds: float
    wal_bytes: int
    error: str | None


@dataclass
class Ledger:
    """Rows that left each table in this step; one entry a table.

    Attributes:
        wal: says how much WAL the server has ever written.
    """

    wal: Callable[[], int]
    rows: dict[str, int] = field(default_factory=dict)
    _ways: dict[str, dict[str, int]] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)
    _wal: dict[str, int] = field(default_factory=dict)
    _errors: dict[str, str] = field(default_factory=dict)

    def add(self, table: str, rows: int, way: str) -> None:
        """Count rows that left a table, and the way in which they went."""
        self.rows[table] = self.rows.get(table, 0) + rows
        if rows:
            ways = self._ways.setdefault(table, {})
            ways[way] = ways.get(way, 0) + rows

    @contextmanager
    def working_on(self, table: str) -> Iterator[None]:
        """Time the work on a table, and keep its failure from ending the work on the others.

        Raises:
            Stopped: as the work did; it ends the whole step.
            ConnectionFailed: likewise.
        """
        started, written = time.monotonic(), self.wal()
        self.add(table, 0, "")
        try:
            try:
                yield
            finally:
                spent = time.monotonic() - started
                self._seconds[table] = self._seconds.get(table, 0.0) + spent
        except ConnectionFailed:
            raise
        except MaintenanceError as error:
            self._wal[table] = self._wal.get(table, 0) + self.wal() - written
            if isinstance(error, Stopped):
                raise
            self._errors[table] = str(error)
        else:
            self._wal[table] = self._wal.get(table, 0) + self.wal() - written

    def results(self) -> tuple[TableResult, ...]:
        """Return one result a table, in the order in which they were worked on."""
        return tuple(
            TableResult(
                table=table,
                rows=rows,
                ways=dict(self._ways.get(table, {})),
                seconds=round(self._seconds.get(table, 0.0), 3),
                wal_bytes=self._wal.get(table, 0),
                error=self._errors.get(table),
            )
            for table, rows in self.rows.items()
        )

    def raise_failures(self) -> None:
        """Fail when a table failed, after the others were done.

        Raises:
            StepFailed: the text names each table and its reason.
        """
        if self._errors:
            raise StepFailed("; ".join(f"{table}: {why}" for table, why in self._errors.items()))
