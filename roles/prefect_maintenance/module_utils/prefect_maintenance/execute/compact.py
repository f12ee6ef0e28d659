"""Shrink a table in its place: its last rows move to free pages before them, the end is cut off.

It needs hardly any disk, keeps nobody out, and takes several times as long as a copy would. Every
step is correct by itself: a row that was moved is the same row, VACUUM may run at any time, and an
index that was being built anew when somebody ended the run lies invalid beside the old one until
the next run removes it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

from ..database.connection import Database, connect
from ..database.lock_attempts import holders
from ..database.lock_seen import Seen, lock_seen
from ..database.table_guard import backend
from ..errors import ConnectionFailed, LockTimeout
from ..measure import compactable, leftovers, snapshots
from ..measure.bloat import free_in_heap
from ..measure.sizes import total_bytes
from ..pace.pace import Pace
from ..units import size
from .compact_rows import Mover, NotCompacted, move
from .reindex import rebuild
from .vacuum import vacuum

# A row that somebody held, or that came to the end meanwhile, is moved in the next pass.
_PASSES = 3
# VACUUM cuts off so many pages, or that part of the table, and nothing less.
_LEAST_PAGES, _LEAST_PART = 1000, 16
# Where few pages have dead rows, VACUUM leaves their pointers for the sake of the indexes, and no
# page that has one is cut off.
_CLEAN = "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF, ANALYZE)"
# After it this one has nothing else to do, and alone it locks the table.
_CUT_OFF = "VACUUM (TRUNCATE)"
# How far what the rows need may be underestimated: below that they would move in vain.
_MARGIN = 1.02

_PAGES = """
SELECT pg_relation_size(to_regclass(:t)) / current_setting('block_size')::int,
       GREATEST(reltuples, 0)::bigint, current_setting('block_size')::int
FROM pg_class WHERE oid = to_regclass(:t)
"""
_ROWS_FROM = "SELECT count(*) FROM {table} x WHERE x.ctid >= CAST(:first AS tid)"


@dataclass(frozen=True)
class Compaction:
    """One compaction.

    Attributes:
        lock_timeout: seconds in which each lock must be had.
        pace: asked between two chunks and two indexes whether to go on.
    """

    database: Database
    table: str
    lock_timeout: float
    pace: Pace


@dataclass(frozen=True)
class Compacted:
    """What a compaction did.

    Attributes:
        bytes_before: of the table, indexes and TOAST included.
        bytes_after: the same.
        rows: that were moved, each as often as it was.
        passes: how often the end was looked at.
        extra_bytes: disk that was needed beside the table as it was.
        locked: seconds for which everybody was kept out of the table at a time, at most.
        warnings: what was left undone, and why.
    """

    bytes_before: int
    bytes_after: int
    rows: int = 0
    passes: int = 0
    extra_bytes: int = 0
    locked: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Heap:
    """Pages of a table, and how many its rows need."""

    pages: int
    target: int

    @property
    def worth_it(self) -> bool:
        """Tell whether VACUUM would cut off what can be emptied."""
        return self.pages - self.target >= min(_LEAST_PAGES, max(1, self.pages // _LEAST_PART))


def compact(job: Compaction) -> Compacted:
    """Move the last rows of a table to its free pages, cut its end off, and rebuild its indexes.

    Raises:
        NotCompacted: somebody would notice that rows move.
        LockTimeout: somebody keeps a lock, or a snapshot for which the rows would move in vain.
        Stopped: between two chunks or two indexes; the next run goes on from there.
        DiskFull: there is no room even for this.
        ConnectionFailed: a session is gone.
    """
    database, table = job.database, job.table
    leftovers.remove(database, table, job.lock_timeout)
    column = _column(job)
    done = Compacted(bytes_before=total_bytes(database, table), bytes_after=0)
    snapshots.outlive(
        database,
        table,
        job.lock_timeout,
        [backend(database)],
        lambda: job.pace.ask(table),
        "keep the end of {table} from being cut off",
        writers=True,
    )
    done = _moved(job, column, done)
    rebuilt = rebuild(database, table, job.lock_timeout, job.pace)
    after = total_bytes(database, table)
    return replace(
        done,
        bytes_after=after,
        extra_bytes=max(done.extra_bytes, after + rebuilt.copy_bytes - done.bytes_before),
        warnings=(*done.warnings, *rebuilt.warnings),
    )


def _column(job: Compaction) -> str:
    """Return the column whose updates nobody notices.

    Raises:
        NotCompacted: somebody would.
    """
    column = compactable.movable_by(job.database, job.table)
    reasons = compactable.refusals(job.database, job.table)
    if reasons or column is None:
        raise NotCompacted(f"{job.table} cannot be compacted: {', '.join(reasons)}")
    return column


def _moved(job: Compaction, column: str, done: Compacted) -> Compacted:
    """Empty the end of the table and let VACUUM cut it off, again while rows are left there."""
    database, table = job.database, job.table
    # Only VACUUM tells the free space map of what is free, and lets the search in it begin low.
    vacuum(database, f"VACUUM {table}")
    try:
        with ExitStack() as opened:
            guard = _second(job, opened)
            mover = Mover(database, guard, table, column, job.lock_timeout, job.pace)
            return _passed(job, mover, done)
    except LockTimeout as error:
        return replace(done, warnings=(f"{table} was compacted in part: {error}",))


def _second(job: Compaction, opened: ExitStack) -> Database:
    """Open the session that keeps the old snapshot."""
    try:
        return opened.enter_context(
            connect(job.database.url, job.lock_timeout, job.database.events)
        )
    except ConnectionFailed as error:
        raise NotCompacted(f"{job.table} needs a second session: {error}") from None


def _passed(job: Compaction, mover: Mover, done: Compacted) -> Compacted:
    database, table = job.database, job.table
    heap, full = _heap(job), False
    while heap.worth_it and done.passes < _PASSES:
        moved = move(mover, heap.pages, heap.target)
        if done.passes and not moved.rows:
            break
        full = moved.full
        used = total_bytes(database, table) - done.bytes_before
        done = replace(
            done,
            rows=done.rows + moved.rows,
            passes=done.passes + 1,
            extra_bytes=max(done.extra_bytes, used),
        )
        vacuum(database, f"{_CLEAN} {table}")
        seen, seconds = _cut_off(mover)
        before, heap = heap, _heap(job)
        if seen.times or heap.pages < before.pages:
            done = replace(done, locked=max(done.locked, seen.at_most(seconds)))
        if full and heap.pages >= before.pages:
            break
    if done.passes and heap.worth_it and not full:
        return replace(done, warnings=(_left(job, heap),))
    return done


def _cut_off(mover: Mover) -> tuple[Seen, float]:
    """Let VACUUM cut the end off; returns what was seen of its lock, and its seconds."""
    with lock_seen(mover.guard, mover.database, mover.table) as seen:
        seconds = vacuum(mover.database, f"{_CUT_OFF} {mover.table}")
    return seen, seconds


def _heap(job: Compaction) -> _Heap:
    pages, rows, page = job.database.rows(_PAGES, t=job.table)[0]
    free, _ = free_in_heap(job.database, job.table, int(rows))
    return _Heap(int(pages), int(_MARGIN * (int(pages) - free // int(page))) + 1)


def _left(job: Compaction, heap: _Heap) -> str:
    """Say why the end was not cut off as far as the rows need."""
    database, table = job.database, job.table
    rows = database.scalar(_ROWS_FROM.format(table=table), first=f"({heap.target},0)")
    page = heap.pages - heap.target
    what = f"{size(8192 * page)} at the end of {table} could not be cut off"
    if rows:
        return (
            f"{what}: {rows} rows there could not be moved, {holders(database, table)}; run again"
        )
    who = snapshots.oldest(database)
    return (
        f"{what}: a snapshot still sees the rows that were there, most likely of {who}; run again"
    )
