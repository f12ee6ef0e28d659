"""Purge a table online at the cost of what it keeps: copy, follow, swap.

The survivors are copied beside the table while everybody goes on working. A row trigger writes
down the id of every row that is inserted, updated or deleted meanwhile; those rows are settled in
the copy, the last of them under the lock in which copy and table change names. That lock lasts
for some renames and the last few rows, whatever the size of the table.

Two sessions are at work. One holds the table still from before the first row is copied until the
swap, which it carries out in the same transaction; the other copies, and is thrown away when
somebody waits for the table. Under the swap's lock everything is looked at once more.

Nothing is deleted before the swap and the swap is one transaction, so an interruption leaves
either the old table whole or the new one; the next step removes what lies beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from ..database.connection import Database
from ..database.table_guard import guarded
from ..errors import ConnectionFailed, MaintenanceError
from ..measure import leftovers, relations, snapshots
from ..measure.leftovers import Names
from ..measure.sizes import total_bytes
from ..plan.holds import stage
from .archive_victims import archive_left_out
from .copy import catch_up, copy
from .follow import follow
from .rewrite_job import Grown, Refused, Rewrite, Work, one_more_session, require_whole
from .swap import swap


@dataclass(frozen=True)
class Rewritten:
    """What a rewrite did.

    Attributes:
        rows: rows that are gone, where they were to be counted.
        locked: seconds for which it kept everybody out.
        copied: bytes of the copy, indexes included: the disk that it needed.
        warnings: what could not be done after the swap.
    """

    rows: int
    locked: float
    copied: int
    warnings: tuple[str, ...] = ()


class LostAfterSwap(ConnectionFailed):
    """The session is gone after the swap: the rows are gone too, as `done` says."""

    def __init__(self, error: ConnectionFailed, done: Rewritten) -> None:
        super().__init__(f"{error}; what lies beside the table goes with the next step")
        self.done = done


def rewrite(job: Rewrite) -> Rewritten:
    """Replace a table by a copy of the rows that it keeps.

    Raises:
        Refused: the table has something that would be lost; nothing was changed.
        LockTimeout: somebody holds or wants the table, or keeps an old snapshot; nothing was
            changed.
        Stopped: between two pieces of the copy; nothing was changed.
        DiskFull: the copy did not fit; nothing was changed.
        ConnectionFailed: a session is gone; the text says when the swap was under way.
        LostAfterSwap: it is gone after the swap.
    """
    leftovers.remove(job.database, job.table, job.lock_timeout)
    require_whole(job)
    names = leftovers.beside(job.database, job.table)
    with ExitStack() as opened:
        try:
            try:
                copier = opened.enter_context(one_more_session(job))
                copier = replace(copier, keeper=job.database.keeper)
            except ConnectionFailed as error:
                raise Refused(f"{job.table} needs a second session: {error}") from None
            if job.holds.listed:
                stage(copier, job.holds)
            job.prepare(copier)
            follow(job, names)
            began, grown = _replaced(job, names, copier)
        except BaseException as error:
            opened.close()
            _undone(job, error)
            raise
        gone = grown.table - grown.copy if job.count else 0
        return _finished(job, names, copier, Rewritten(gone, time.monotonic() - began, copied=0))


def _undone(job: Rewrite, error: BaseException) -> None:
    """Remove what an interrupted rewrite has made, or say in the error why that stays."""
    if job.database.connection.invalidated:
        return
    try:
        leftovers.remove(job.database, job.table, job.lock_timeout)
    except MaintenanceError as left:
        if isinstance(error, MaintenanceError):
            error.args = (f"{error}; the next step removes what lies beside it ({left})",)


def _replaced(job: Rewrite, names: Names, copier: Database) -> tuple[float, Grown]:
    """Copy and swap; returns when the strong lock was had, and the rows of both tables then."""
    swapping = False
    try:
        with guarded(job.database, names.table, job.lock_timeout, [copier]) as guard:
            work = Work(job, names, copier, guard)
            # What came between the look before and the lock that holds the table still.
            require_whole(job)
            file = relations.files(job.database, job.table)
            guard.watch()
            grown = copy(work) + catch_up(work)
            copied = grown.copy
            archive_left_out(work, copied)
            snapshots.outlive(
                copier,
                job.table,
                job.lock_timeout,
                guard.pids(),
                lambda: work.go_on(copied, copied),
            )
            grown += catch_up(work)
            guard.rest()
            guard.check()
            began, last = swap(work, file)
            swapping = True
    except ConnectionFailed as error:
        if not swapping:
            raise
        raise ConnectionFailed(
            f"{error}; {job.table} was being swapped: the next run tells whether it was"
        ) from None
    return began, grown + last


def _finished(job: Rewrite, names: Names, copier: Database, done: Rewritten) -> Rewritten:
    """Remove the old table; whatever fails here, the rows are gone.

    Raises:
        LostAfterSwap: the session is gone; it says what was done.
    """
    database = job.database
    try:
        done = replace(done, copied=total_bytes(database, job.table))
        with _indexes_dropped(copier, names):
            leftovers.remove(database, job.table, job.lock_timeout)
    except ConnectionFailed as error:
        raise LostAfterSwap(error, done) from None
    except MaintenanceError as error:
        told = (
            f"{job.table} was rewritten, but its old file is still there as {names.old_name} "
            f"and comes back with the next step: {error}"
        )
        done = replace(done, warnings=(*done.warnings, told))
    return done


@contextmanager
def _indexes_dropped(session: Database, names: Names) -> Iterator[None]:
    """Drop the old table's indexes beside the block, which drops the table.

    PostgreSQL removes files after it has let go of the locks, so that both are at it at once.
    """

    def drop() -> None:
        # What this leaves goes with the table, or stays with it as the block says.
        with suppress(MaintenanceError):
            leftovers.drop_old_indexes(session, names)

    with ThreadPoolExecutor(1) as pool:
        dropping = pool.submit(drop)
        yield
        dropping.result()
