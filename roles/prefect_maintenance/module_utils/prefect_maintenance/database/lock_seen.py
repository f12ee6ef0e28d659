"""How long a statement keeps everybody out of a table while it does other work as well.

VACUUM looks at the empty end of a table under a lock that keeps everybody out, cuts off what it has
looked at as soon as somebody waits for it, and goes on (lazy_truncate_heap in PostgreSQL's
vacuumlazy.c). Where nobody waits it looks at all of it first, and who comes then waits until
gigabytes are cut off. So somebody waits here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ..errors import LockTimeout, MaintenanceError
from .connection import Database
from .table_guard import backend

# Between two looks; what lasts for less is told as this.
_PAUSE = 0.002
_HELD = """
SELECT count(*) FROM pg_locks WHERE pid = :pid AND relation = to_regclass(:t)
  AND mode = 'AccessExclusiveLock' AND granted
"""
_WAIT_FOR_IT = "SELECT 1 FROM {table} LIMIT 0"


@dataclass
class Seen:
    """What looks at a session's locks have shown.

    Attributes:
        times: how many of the looks found the table locked.
        between: the longest time between two looks that did not.
        locked: the longest time between two of those that found it locked in between.
    """

    times: int = 0
    between: float = 0.0
    locked: float = 0.0

    def at_most(self, seconds: float) -> float:
        """Return the seconds for which everybody was kept out once, at most.

        Args:
            seconds: that the whole statement took.
        """
        return min(seconds, self.locked if self.times else self.between)


@contextmanager
def lock_seen(observer: Database, at_work: Database, table: str) -> Iterator[Seen]:
    """Look again and again whether a session keeps everybody out of a table, and wait for it then.

    That ends with the block.

    Args:
        observer: an idle session that nobody else uses meanwhile.
        at_work: the session whose statements the block carries out.
        table: of the catalogue.
    """
    seen, over, pid = Seen(), threading.Event(), backend(at_work)
    failures: list[MaintenanceError] = []

    def watch() -> None:
        try:
            _watch(observer, pid, table, seen, over)
        except MaintenanceError as error:
            failures.append(error)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
    if failures:
        raise failures[0]


def _watch(observer: Database, pid: int, table: str, seen: Seen, over: threading.Event) -> None:
    free, held = time.monotonic(), False
    last = False
    while not last:
        last = over.wait(_PAUSE)
        began = time.monotonic()
        if observer.scalar(_HELD, pid=pid, t=table):
            held, seen.times = True, seen.times + 1
            # Who does not give way is looked at again.
            with suppress(LockTimeout):
                observer.rows(_WAIT_FOR_IT.format(table=table))
            continue
        lasted = time.monotonic() - free
        if held:
            seen.locked = max(seen.locked, lasted)
        else:
            seen.between = max(seen.between, lasted)
        free, held = began, False
