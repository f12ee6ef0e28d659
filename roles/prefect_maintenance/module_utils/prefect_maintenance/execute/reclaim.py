"""Give pages back to the operating system as planned, and vacuum every table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .. import events
from ..catalogue import BY_NAME, TABLES
from ..database.connection import Database
from ..database.lock_attempts import in_attempts
from ..database.privileges import may_vacuum
from ..errors import DiskFull, LockTimeout, PrivilegeError
from ..events import Progress, Reclaimed
from ..measure import disk_space
from ..measure.sizes import analysed, dead_tuples, total_bytes
from ..pace.pace import Pace
from ..plan.choices import REWRITING, Choice
from . import repack
from .ledger import Ledger
from .rewrite import LostAfterSwap, rewrite
from .rewrite_job import Refused, Rewrite
from .sqlite_file import reclaim_file


@dataclass(frozen=True)
class Reclaim:
    """One reclaim: where, and after which deletions.

    Attributes:
        deleted: rows that left each table in this run.
        rewritten: rows that left each table by a rewrite in this run, which vacuumed it too.
        lock_timeout: seconds in which a lock must be had.
        ledger: failures of single tables end up here, after the others were done.
    """

    database: Database
    deleted: Mapping[str, int]
    rewritten: Mapping[str, int]
    lock_timeout: float
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
                _vacuum(job.database, f"ANALYZE {table.name}")


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
    if choice.action == "rewrite":
        choice = _rewritten(job, choice, table)
    elif choice.action == "repack":
        for warning in repack.repack(database, table, job.lock_timeout):
            job.ledger.warn(warning)
    elif choice.action == "full":
        disk_space.require(database, table, total_bytes(database, table) - choice.gives_back)
        if unknown := disk_space.unknown(database):
            job.ledger.warn(unknown)
        locked = _vacuum_full(job, table)
        job.ledger.events(events.Rewritten(table, locked, total_bytes(database, table)))
    if choice.action in REWRITING:
        # Done, whatever becomes of the VACUUM that follows.
        _tell(job, choice)
    if job.stale(table) or table not in job.rewritten or dead_tuples(database, table):
        _vacuum(database, f"VACUUM (ANALYZE) {table}")
    if choice.action not in REWRITING:
        _tell(job, choice)


def _rewritten(job: Reclaim, choice: Choice, table: str) -> Choice:
    """Rewrite a table online; where that fails, say what is done instead."""
    try:
        done = rewrite(
            Rewrite(
                database=job.database,
                table=table,
                keeps=("TRUE",),
                bound={},
                age=str(BY_NAME[table].age),
                lock_timeout=job.lock_timeout,
                pace=job.pace,
            )
        )
    except (Refused, LockTimeout, DiskFull) as error:
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


def _tell(job: Reclaim, choice: Choice) -> None:
    job.ledger.events(Reclaimed(choice.table, choice.action, choice.why))


def _timed(database: Database, sql: str) -> float:
    started = time.monotonic()
    database.run(sql)
    return time.monotonic() - started


def _vacuum(database: Database, sql: str) -> float:
    """Carry out a VACUUM or ANALYZE, which lets readers and writers pass."""
    return database.retry_on_lock(lambda: _unskipped(database, sql))


def _vacuum_full(job: Reclaim, table: str) -> float:
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
