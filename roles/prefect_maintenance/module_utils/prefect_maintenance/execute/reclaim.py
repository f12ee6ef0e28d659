"""Give pages back to the operating system as planned, and vacuum every table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from .. import events
from ..catalogue import BY_NAME, TABLES
from ..database.connection import Database
from ..database.lock_attempts import in_attempts
from ..database.lock_bound import statement_at_most
from ..database.privileges import may_vacuum
from ..errors import DiskFull, HeldTooLong, LockTimeout, PrivilegeError
from ..events import FellBack, Progress, Reclaimed
from ..measure import compactable
from ..measure.disk_space import Disks, shortage, unknown
from ..measure.sizes import analysed, dead_tuples, total_bytes
from ..pace.pace import Pace
from ..plan.choices import COPYING, REWRITING, Choice, full_at_most
from ..request import settings
from . import repack
from .compact import Compaction, compact
from .compact_rows import NotCompacted
from .ledger import Ledger
from .rewrite import LostAfterSwap, rewrite
from .rewrite_job import Refused, Rewrite
from .sqlite_file import reclaim_file
from .vacuum import unskipped, vacuum

_INSTEAD = {"compact": "is compacted instead", "plain": "is only vacuumed"}


@dataclass(frozen=True)
class Reclaim:
    """One reclaim: where, and after which deletions.

    Attributes:
        deleted: rows that left each table in this run.
        rewritten: rows that left each table by a rewrite in this run, which vacuumed it too.
        lock_timeout: seconds in which a lock must be had.
        wanted: what was asked for, with the longest lock.
        disks: where is looked for what is free.
        ledger: failures of single tables end up here, after the others were done.
    """

    database: Database
    deleted: Mapping[str, int]
    rewritten: Mapping[str, int]
    lock_timeout: float
    wanted: settings.Reclaim
    disks: Disks
    pace: Pace
    ledger: Ledger

    def stale(self, table: str) -> bool:
        """Tell whether rows went that no rewrite has taken into account."""
        return self.deleted.get(table, 0) > self.rewritten.get(table, 0)


def refresh_statistics(job: Reclaim) -> None:
    """Analyse the tables whose statistics are missing or old: the plan rests on them.

    Raises:
        Stopped: between two tables.
        ConnectionFailed: the database is gone.
    """
    for table in TABLES if job.database.is_postgresql else ():
        job.pace.ask(table.name)
        with job.ledger.working_on(table.name):
            if not may_vacuum(job.database, table.name):
                raise PrivilegeError(
                    f"the role in db_url may not VACUUM {table.name}; make it the owner, "
                    "or grant MAINTAIN (PostgreSQL 17 and newer)"
                )
            if job.stale(table.name) or not analysed(job.database, table.name):
                vacuum(job.database, f"ANALYZE {table.name}")


def reclaim(job: Reclaim, choices: Iterable[Choice]) -> None:
    """Carry out what was chosen for each table, and vacuum it.

    Raises:
        Stopped: between two tables.
        ConnectionFailed: the database is gone.
    """
    chosen = tuple(choices)
    for place, choice in enumerate(chosen):
        name = choice.table or "the whole file"
        job.pace(Progress(name, place, len(chosen), unit="tables"))
        if job.ledger.failed(choice.table):
            continue
        with job.ledger.working_on(choice.table):
            if choice.table is None:
                reclaim_file(job.database, choice, job.pace, job.ledger)
            else:
                _reclaim_table(job, choice, choice.table)


def _reclaim_table(job: Reclaim, choice: Choice, table: str) -> None:
    database = job.database
    choice = _with_room(job, choice, table)
    if choice.action == "full":
        choice = _vacuumed_full(job, choice, table)
    elif choice.action == "rewrite":
        choice = _rewritten(job, choice, table)
    elif choice.action == "repack":
        for warning in repack.repack(database, table, job.lock_timeout, job.pace):
            job.ledger.warn(warning)
    if choice.action == "compact":
        choice = _compacted(job, choice, table)
    if choice.action in REWRITING:
        # Done, whatever becomes of the VACUUM that follows.
        _tell(job, choice)
    if choice.action == "compact":
        return  # it ends with a VACUUM of its own
    if job.stale(table) or table not in job.rewritten or dead_tuples(database, table):
        vacuum(database, f"VACUUM (ANALYZE) {table}")
    if choice.action not in REWRITING:
        _tell(job, choice)


def _with_room(job: Reclaim, choice: Choice, table: str) -> Choice:
    """Look again whether a copy fits, because others wrote and freed since the plan was made."""
    if choice.action not in COPYING:
        return choice
    kept = total_bytes(job.database, table) - choice.gives_back
    if lacking := shortage(job.disks, kept, table):
        if choice.otherwise != "compact" and not compactable.refusals(job.database, table):
            lacking += "; vacuum: compact needs no copy"
        return _fallen_back(job, choice, f"{table}: {lacking}")
    if told := unknown(job.disks):
        job.ledger.warn(told)
    return choice


def _fallen_back(job: Reclaim, choice: Choice, why: str) -> Choice:
    """Say that a table could not be written anew; returns what the plan has for that case."""
    table = str(choice.table)
    job.ledger.events(FellBack(table, "but it could not be written anew"))
    job.ledger.warn(f"{why}; {table} {_INSTEAD[choice.otherwise]}")
    return replace(choice, action=choice.otherwise, gives_back=0, why=why)


def _rewritten(job: Reclaim, choice: Choice, table: str) -> Choice:
    """Rewrite a table online; where that fails, say what is done instead."""
    try:
        done = rewrite(
            Rewrite(
                database=job.database,
                table=table,
                keeps=("TRUE",),
                within="TRUE",
                bound={},
                age=str(BY_NAME[table].age),
                lock_timeout=job.lock_timeout,
                max_lock=job.wanted.max_lock,
                pace=job.pace,
            )
        )
    except (HeldTooLong, DiskFull) as error:
        return _fallen_back(job, choice, str(error))
    except (Refused, LockTimeout) as error:
        job.ledger.warn(f"{error}; {table} was not rewritten")
        return Choice(table, "plain", 0, str(error))
    except LostAfterSwap as error:
        job.ledger.events(events.Rewritten(table, error.done.locked, error.done.copied))
        _tell(job, choice)
        raise
    for warning in done.warnings:
        job.ledger.warn(warning)
    job.ledger.events(events.Rewritten(table, done.locked, done.copied))
    return choice


def _compacted(job: Reclaim, choice: Choice, table: str) -> Choice:
    """Compact a table in its place; where that fails or gives nothing, say what is done instead."""
    try:
        done = compact(Compaction(job.database, table, job.lock_timeout, job.pace))
    except (NotCompacted, LockTimeout, DiskFull) as error:
        job.ledger.warn(f"{error}; {table} was not compacted")
        return Choice(table, "plain", 0, str(error))
    for warning in done.warnings:
        job.ledger.warn(warning)
    if done.bytes_after >= done.bytes_before:
        return Choice(table, "plain", 0, "compaction gave nothing back")
    job.ledger.events(events.Rewritten(table, done.locked, max(0, done.extra_bytes)))
    return choice


def _tell(job: Reclaim, choice: Choice) -> None:
    job.ledger.events(Reclaimed(choice.table, choice.action, choice.why))


def _timed(database: Database, sql: str) -> float:
    started = time.monotonic()
    database.run(sql)
    return time.monotonic() - started


def _vacuumed_full(job: Reclaim, choice: Choice, table: str) -> Choice:
    """Carry out a VACUUM FULL; what keeps everybody out for too long is ended and done otherwise.

    Nobody queues for long behind its wait for its lock. Where it was asked for by name, it may
    take as long as it takes; where a compaction is open, no longer than that is worth.
    """
    bounded, most = job.wanted.mode != "full", job.wanted.max_lock
    if choice.otherwise == "compact":
        most = full_at_most(job.wanted)

    def attempt() -> float:
        sql = f"VACUUM (FULL) {table}"
        with ExitStack() as bound:
            if bounded:
                bound.enter_context(statement_at_most(job.database, sql, most))
            return unskipped(job.database, sql)

    try:
        locked = in_attempts(job.database, table, job.lock_timeout, attempt)
    except (HeldTooLong, DiskFull) as error:
        if not bounded:
            raise
        return _fallen_back(job, choice, str(error))
    job.ledger.events(events.Rewritten(table, locked, total_bytes(job.database, table)))
    return choice
