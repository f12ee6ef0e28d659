"""SQLite has one writer: between two batches Prefect's server gets its turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..database.connection import Database
from .governors import Answer, Moment, Wait

# Whoever has written in so many seconds is at work.
_AT_WORK = 10.0
# So many times as long as the file was locked: a request that reads before it writes fails at once
# meanwhile, and Prefect's clients try it five times more.
_BESIDE_OTHERS, _BY_ITSELF = 4.0, 1.0
# Seconds for which a batch should lock the file at most: the server's writes wait for it.
LONGEST_BATCH = 0.1
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
    _written: float = -float("inf")
    _before: float = 0.0

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        self._look()
        beside = self.clock() - self._written < _AT_WORK
        locked = self.batch(moment.worked)
        left = locked * (_BESIDE_OTHERS if beside else _BY_ITSELF) - moment.waited
        if left <= 0:
            self._before = self.database.held.seconds
            return None
        return Wait("Prefect's server writes to the same file", left, "single_writer")

    def batch(self, _worked: float) -> float:
        """Return the seconds for which the last batch kept other writers out.

        What it waited for them itself, and what it read before it began, is not among them.
        """
        return self.database.held.seconds - self._before

    def _look(self) -> None:
        """See whether somebody else has written since the last look."""
        version = int(self.database.scalar(_VERSION))
        if self._version is not None and version != self._version:
            self._written = self.clock()
        self._version = version
