"""Give the free pages of an SQLite file back: at once, or in steps between which others write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import monotonic, sleep

from .. import events
from ..database.connection import Database
from ..errors import LockTimeout, Stopped
from ..events import Progress, Reclaimed
from ..measure import disk_space
from ..measure.integrity import require_intact
from ..measure.sizes import sqlite_free_bytes
from ..pace.pace import Pace
from ..plan.choices import Choice
from .ledger import Ledger

# Pages that one transaction moves from the end to free places: some hundredths of a second.
_STEP = 500
_CHECKPOINT_ATTEMPTS = 40
# What waits for a reader keeps writers out meanwhile, so it waits in attempts of milliseconds.
_ATTEMPT_MS = 50


def reclaim_file(database: Database, choice: Choice, pace: Pace, ledger: Ledger) -> None:
    """Shrink the file as chosen, then empty the write-ahead log into it.

    Until then the file keeps its size (SQLite manual, VACUUM and WAL).

    Raises:
        Corrupt: the file is damaged; before, nothing was done to it.
        NoRoom: the copy would not fit; nothing was done.
        LockTimeout: a lock could not be had.
        Stopped: between two steps; what came back by then is told.
    """
    shrink = {"full": _vacuumed, "compact": _compacted}.get(choice.action)
    if shrink:
        require_intact(database)
        shrink(database, choice, pace, ledger)
        require_intact(database, "it was intact before its space was given back")
        choice = replace(choice, why=f"{choice.why}; the file was checked before and afterwards")
    _tell(ledger, choice)
    if _checkpointed(database):
        return
    if shrink:
        _tell(ledger, replace(choice, why="its space comes back later, see below"))
    raise LockTimeout(
        "the write-ahead log could not be emptied because a reader holds it; run again later, else "
        "the space comes back at the next checkpoint"
    )


def _vacuumed(database: Database, choice: Choice, pace: Pace, ledger: Ledger) -> None:
    live = database.file.stat().st_size - sqlite_free_bytes(database)
    disk_space.require(database, "the SQLite file", live)
    started = monotonic()
    database.run("VACUUM")
    ledger.events(events.Rewritten(None, monotonic() - started, live))


def _compacted(database: Database, choice: Choice, pace: Pace, ledger: Ledger) -> None:
    """Cut free pages off the end, in transactions of so many that writers need not wait long."""
    total = left = _free_pages(database)
    longest = 0.0
    try:
        while left:
            started = monotonic()
            database.retry_on_lock(lambda: _cut_off(database))
            longest = max(longest, monotonic() - started)
            before, left = left, _free_pages(database)
            if left >= before:
                break
            pace(Progress("the whole file", total - left, total, unit="pages"))
    except Stopped:
        _tell(ledger, replace(choice, why="stopped on the way; the next run goes on"))
        raise
    finally:
        ledger.events(events.Rewritten(None, longest, 0))


def _cut_off(database: Database) -> None:
    database.script(f"PRAGMA incremental_vacuum({_STEP})")


def _free_pages(database: Database) -> int:
    return int(database.scalar("PRAGMA freelist_count"))


def _checkpointed(database: Database) -> bool:
    """Empty the write-ahead log: most of it while others write, the end of it between them."""
    database.run("PRAGMA wal_checkpoint(PASSIVE)")
    usual = int(database.scalar("PRAGMA busy_timeout"))
    database.run(f"PRAGMA busy_timeout = {_ATTEMPT_MS}")
    try:
        return _repeated(lambda: not database.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0])
    finally:
        database.run(f"PRAGMA busy_timeout = {usual}")


def _repeated(work: Callable[[], bool]) -> bool:
    """Try again for some seconds until something is done; tells whether it is."""
    for _ in range(_CHECKPOINT_ATTEMPTS):
        if work():
            return True
        sleep(0.25)
    return False


def _tell(ledger: Ledger, choice: Choice) -> None:
    ledger.events(Reclaimed(None, choice.action, choice.why))
