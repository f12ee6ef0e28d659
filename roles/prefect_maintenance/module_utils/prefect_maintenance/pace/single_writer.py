"""SQLite has one writer: between two batches Prefect's server gets its turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..database.connection import Database
from .governors import Answer, Moment, Wait

# Whoever has written in so many seconds is at work.
_AT_WORK = 10.0
# So many times as long as the batch took: a request that reads before it writes fails at once
# while the file is locked, and Prefect's clients try it five times more.
_BESIDE_OTHERS, _BY_ITSELF = 4.0, 1.0
# No batch is that long: the work between two of them was reading, which disturbs nobody.
_LONGEST = 2.0
# Any two answers differ when somebody else has committed in between (SQLite manual, PRAGMA).
_VERSION = "PRAGMA data_version"


@dataclass
class SingleWriter:
    """Waits longer after a batch while others write to the same file.

    Attributes:
        database: an SQLite file, between two transactions.
        clock: seconds that only go on.
    """

    database: Database
    clock: Callable[[], float] = time.monotonic
    _version: int | None = None
    _written: float = field(default=-float("inf"))

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        self._look()
        beside = self.clock() - self._written < _AT_WORK
        pause = min(_LONGEST, moment.worked * (_BESIDE_OTHERS if beside else _BY_ITSELF))
        left = pause - moment.waited
        if left <= 0:
            return None
        return Wait("Prefect's server writes to the same file", left, "single_writer")

    def _look(self) -> None:
        """See whether somebody else has written since the last look."""
        version = int(self.database.scalar(_VERSION))
        if self._version is not None and version != self._version:
            self._written = self.clock()
        self._version = version
