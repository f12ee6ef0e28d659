"""What was done so far, kept while a step runs so that nothing is lost however it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import ConnectionFailed, MaintenanceError, StepFailed, Stopped
from ..events import Events, TableDone, Warned

_FILE = "the whole file"


@dataclass
class Ledger:
    """Rows that left each table in this step, and what the work on each took.

    Attributes:
        wal: says how much WAL the server has ever written.
        events: takes what becomes of each table.
        rows: that left each table so far.
        aged: that went by their age, of tables of which all did.
    """

    wal: Callable[[], int]
    events: Events = field(default_factory=Events)
    rows: dict[str, int] = field(default_factory=dict)
    aged: dict[str, int] = field(default_factory=dict)
    _ways: dict[str, dict[str, int]] = field(default_factory=dict)
    _errors: dict[str | None, str] = field(default_factory=dict)

    def add(self, table: str, rows: int, way: str) -> None:
        """Count rows that left a table, and the way in which they went."""
        self.rows[table] = self.rows.get(table, 0) + rows
        if rows:
            ways = self._ways.setdefault(table, {})
            ways[way] = ways.get(way, 0) + rows

    def warn(self, text: str) -> None:
        """Tell a person something."""
        self.events(Warned(text))

    def failed(self, table: str | None) -> bool:
        """Tell whether the work on a table has failed."""
        return table in self._errors

    @contextmanager
    def working_on(self, table: str | None) -> Iterator[None]:
        """Time the work on a table, and keep its failure from ending the work on the others.

        Args:
            table: its name; None for the file of an SQLite database.

        Raises:
            Stopped: as the work did; it ends the whole step.
            ConnectionFailed: likewise.
        """
        started, written = time.monotonic(), self.wal()
        if table is not None:
            self.add(table, 0, "")
        error = None
        try:
            yield
        except ConnectionFailed:
            self._done(table, started, 0)
            raise
        except Stopped:
            self._done(table, started, self.wal() - written)
            raise
        except MaintenanceError as failed:
            error = self._errors[table] = str(failed)
        except BaseException:
            self._done(table, started, 0)
            raise
        self._done(table, started, self.wal() - written, error)

    def close(self) -> None:
        """Tell of the rows that left tables which the step did not work on by themselves."""
        for table in tuple(self._ways):
            if self._ways[table]:
                self._done(table, time.monotonic(), 0)

    @property
    def failure(self) -> StepFailed | None:
        """The failures of all tables so far, each with its reason, if there are any."""
        told = "; ".join(f"{table or _FILE}: {why}" for table, why in self._errors.items())
        return StepFailed(told) if told else None

    def raise_failures(self) -> None:
        """Fail when a table failed, after the others were done.

        Raises:
            StepFailed: the text names each table and its reason.
        """
        if failure := self.failure:
            raise failure

    def _done(self, table: str | None, started: float, wal: int, error: str | None = None) -> None:
        ways = self._ways.pop(table, {}) if table is not None else {}
        spent = round(time.monotonic() - started, 3)
        self.events(TableDone(table, sum(ways.values()), ways, spent, wal, error))
