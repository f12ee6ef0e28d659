"""Give pages back to the operating system where that is worth its price."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..catalogue import BY_NAME, TABLES
from ..database.connection import Database
from ..database.lock_attempts import in_attempts
from ..database.privileges import may_vacuum
from ..errors import DiskFull, LockTimeout, PrivilegeError
from ..measure import disk_space
from ..measure.sizes import (
    TableSize,
    analysed,
    database_bytes,
    measure,
    sqlite_free_bytes,
    total_bytes,
)
from ..pace.pace import Pace, Progress
from ..plan.choices import REWRITING, Choice, choose
from ..request.settings import Reclaim
from . import repack
from .ledger import Ledger
from .rewrite import LostAfterSwap, Refused, Rewrite, obstacles, rewrite

_CHECKPOINT_ATTEMPTS = 10
# Stands in a table's place where SQLite knows only its file.
WHOLE_FILE = "(file)"


@dataclass(frozen=True)
class Reclaiming:
    """One reclaim: where, how, after which deletions; and what became of it.

    Attributes:
        deleted: rows that left each table in this run.
        rewritten: rows that left each table by a rewrite in this run, which vacuumed it too.
        lock_timeout: seconds in which a lock must be had.
        ledger: failures of single tables end up here, after the others were done.
        choices: what was done with each table; nothing of one that failed.
        locked: seconds for which a rewrite kept everybody out of a table.
        extra: bytes of disk that a rewrite of a table needed.
        warnings: what a person should know.
    """

    database: Database
    wanted: Reclaim
    deleted: Mapping[str, int]
    rewritten: Mapping[str, int]
    lock_timeout: float
    pace: Pace
    ledger: Ledger
    choices: dict[str, Choice] = field(default_factory=dict)
    locked: dict[str, float] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def foreseen(
    database: Database, wanted: Reclaim, deleted: Mapping[str, int], rewritten: Mapping[str, int]
) -> tuple[Choice, ...]:
    """Say what a reclaim would do once the rows in `deleted`, still there, are gone.

    Args:
        database: where.
        wanted: mode and thresholds.
        deleted: rows that go before.
        rewritten: those of them that go because the purge rewrites the table.
    """
    if not database.is_postgresql:
        return (_choose_file(database, wanted, deleted),)
    found = []
    for size in measure(database):
        if not BY_NAME[size.name].reclaim:
            continue
        goes, copied = deleted.get(size.name, 0), rewritten.get(size.name, 0)
        choice = _choose_table(database, _once_rewritten(size, copied), goes - copied, wanted)
        if copied and choice.action == "plain":
            choice = Choice(size.name, "plain", 0, "the purge rewrites it")
        found.append(choice)
    return tuple(found)


def _once_rewritten(size: TableSize, rows: int) -> TableSize:
    """Return what a table measures once a rewrite has taken so many rows out of it."""
    if not rows:
        return size
    kept = max(0, size.rows - rows)
    share = kept / size.rows if size.rows else 0.0
    whole = int(share * (size.bytes - size.bloat_bytes))
    heap = int(whole * size.heap_bytes / size.bytes) if size.bytes else 0
    return replace(size, rows=kept, bytes=whole, heap_bytes=heap, bloat_bytes=0)


def reclaim(job: Reclaiming) -> None:
    """Vacuum the whole catalogue, and rewrite what pays.

    Raises:
        Stopped: between two tables.
        ConnectionFailed: the database is gone.
    """
    if job.wanted.mode == "none":
        return
    if not job.database.is_postgresql:
        with job.ledger.working_on(WHOLE_FILE):
            _reclaim_file(job)
        return
    for place, table in enumerate(TABLES):
        job.pace(Progress(table.name, place, len(TABLES)))
        with job.ledger.working_on(table.name):
            _reclaim_table(job, table.name)


def _choose_table(database: Database, size: TableSize, deleted: int, wanted: Reclaim) -> Choice:
    choice = choose(size, deleted, wanted, ())
    if choice.action != "rewrite":
        return choice
    in_the_way = obstacles(database, size.name, size.bytes - choice.gives_back)
    return choose(size, deleted, wanted, in_the_way)


def _choose_file(database: Database, wanted: Reclaim, deleted: Mapping[str, int]) -> Choice:
    """Decide about an SQLite file, which is rewritten as a whole or not at all."""
    free = sqlite_free_bytes(database)
    if deleted:
        for table in measure(database):
            share = deleted.get(table.name, 0) / table.rows if table.rows else 0.0
            free += int(table.bytes * min(1.0, share))
    size = database_bytes(database)
    whole = TableSize(WHOLE_FILE, 0, "", size, 0, 0, size, 0, free, "exact: freelist_count", None)
    return choose(whole, 0, wanted, ("SQLite has only VACUUM",), exact=not deleted)


def _reclaim_table(job: Reclaiming, table: str) -> None:
    database = job.database
    if not may_vacuum(database, table):
        raise PrivilegeError(
            f"the role in db_url may not VACUUM {table}; make it the owner, "
            "or grant MAINTAIN (PostgreSQL 17 and newer)"
        )
    # A rewrite leaves fresh statistics and no dead tuples; what went otherwise came later.
    stale = job.deleted.get(table, 0) > job.rewritten.get(table, 0)
    if stale or not analysed(database, table):
        # The choice rests on how many rows are left; only fresh statistics know.
        _vacuum(database, f"ANALYZE {table}")
    size = measure(database, only=table)[0]
    if BY_NAME[table].reclaim:
        choice = _choose_table(database, size, 0, job.wanted)
    else:
        choice = Choice(table, "plain", 0, "never large")
    if choice.action == "rewrite":
        choice = _rewritten(job, choice)
    elif choice.action == "repack":
        job.warnings.extend(repack.repack(database, table, job.lock_timeout))
    elif choice.action == "full":
        disk_space.require(database, table, total_bytes(database, table) - choice.gives_back)
        if unknown := disk_space.unknown(database):
            job.warnings.append(unknown)
        job.locked[table] = _vacuum_full(job, table)
        job.extra[table] = total_bytes(database, table)
    if choice.action in REWRITING:
        # Done, whatever becomes of the VACUUM that follows.
        job.choices[table] = choice
    if size.dead or stale or table not in job.rewritten:
        _vacuum(database, f"VACUUM (ANALYZE) {table}")
    job.choices[table] = choice


def _rewritten(job: Reclaiming, choice: Choice) -> Choice:
    """Rewrite a table online; where that fails, say what is done instead."""
    try:
        done = rewrite(
            Rewrite(
                database=job.database,
                table=choice.table,
                keeps=("TRUE",),
                bound={},
                age=str(BY_NAME[choice.table].age),
                lock_timeout=job.lock_timeout,
                pace=job.pace,
            )
        )
    except (Refused, LockTimeout, DiskFull) as error:
        job.warnings.append(f"{error}; {choice.table} was not rewritten")
        return Choice(choice.table, "plain", 0, str(error))
    except LostAfterSwap as error:
        job.choices[choice.table] = choice
        job.locked[choice.table], job.extra[choice.table] = error.done.locked, error.done.copied
        raise
    job.warnings.extend(done.warnings)
    job.locked[choice.table], job.extra[choice.table] = done.locked, done.copied
    return choice


def _reclaim_file(job: Reclaiming) -> None:
    """Rewrite the file when it pays, then empty the write-ahead log into it.

    After VACUUM the file keeps its size until a checkpoint (SQLite manual, VACUUM and WAL).
    """
    database = job.database
    choice = _choose_file(database, job.wanted, {})
    if choice.action == "full":
        live = database.file.stat().st_size - sqlite_free_bytes(database)
        disk_space.require(database, "the SQLite file", live)
        job.locked[WHOLE_FILE] = _timed(database, "VACUUM")
    job.choices[WHOLE_FILE] = choice
    for _ in range(_CHECKPOINT_ATTEMPTS):
        if not database.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
            return
        time.sleep(0.5)
    if choice.action == "full":
        job.choices[WHOLE_FILE] = replace(choice, why="its space comes back later, see below")
    raise LockTimeout(
        "the write-ahead log could not be emptied because a reader holds it; run again later, else "
        "the space comes back at the next checkpoint"
    )


def _timed(database: Database, sql: str) -> float:
    started = time.monotonic()
    database.run(sql)
    return time.monotonic() - started


def _vacuum(database: Database, sql: str) -> float:
    """Carry out a VACUUM or ANALYZE, which lets readers and writers pass."""
    return database.retry_on_lock(lambda: _unskipped(database, sql))


def _vacuum_full(job: Reclaiming, table: str) -> float:
    """Carry out a VACUUM FULL, behind whose wait for its lock nobody queues for long."""
    return in_attempts(
        job.database,
        table,
        job.lock_timeout,
        lambda: _unskipped(job.database, f"VACUUM (FULL) {table}"),
    )


class _Heard:
    """Takes PostgreSQL's notices; a list would be emptied by SQLAlchemy before we look at it."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def append(self, notice: str) -> None:
        self.notices.append(notice)


def _unskipped(database: Database, sql: str) -> float:
    """Carry out a statement and take PostgreSQL's warning that it skipped for a failure."""
    heard = _Heard()
    driver = database.connection.connection.driver_connection
    if driver is not None:
        driver.notices = heard
    seconds = _timed(database, sql)
    # Before PostgreSQL 16 it says: skipping "log" --- only table or database owner can vacuum it.
    skipped = [notice for notice in heard.notices if "skipping" in notice]
    if skipped:
        raise PrivilegeError(skipped[0].strip().removeprefix("WARNING:").strip())
    return seconds
