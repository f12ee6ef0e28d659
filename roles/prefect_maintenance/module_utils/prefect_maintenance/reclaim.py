"""Give pages back to the operating system where that is worth its price."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import room, sizes
from .catalogue import BY_NAME, TABLES
from .connection import Database
from .errors import LockTimeout, PrivilegeError
from .inspect import TableSize, database_bytes, may_vacuum, measure, sqlite_free_bytes
from .ledger import Ledger
from .pace import Pace, Progress
from .settings import Reclaim

_CHECKPOINT_ATTEMPTS = 10
# Stands in a table's place where SQLite knows only its file.
WHOLE_FILE = "(file)"


@dataclass(frozen=True)
class Choice:
    """What is done with one table, what that should give back, and why, in one sentence."""

    table: str
    action: str
    gives_back: int
    why: str


@dataclass(frozen=True)
class Reclaiming:
    """One reclaim: where, as wished how, after which deletions; and what became of it.

    Attributes:
        deleted: rows that left each table in this run.
        ledger: failures of single tables end up here, after the others were done.
        choices: what was decided for each table.
        locked: seconds for which a rewrite kept everybody out of a table.
        warnings: what a person should know.
    """

    database: Database
    wish: Reclaim
    deleted: Mapping[str, int]
    pace: Pace
    ledger: Ledger
    choices: dict[str, Choice] = field(default_factory=dict)
    locked: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def foreseen(database: Database, wish: Reclaim, deleted: Mapping[str, int]) -> tuple[Choice, ...]:
    """Say what a reclaim would do once the rows in `deleted`, still there, are gone."""
    if not database.is_postgresql:
        return (_choose_file(database, wish, deleted),)
    return tuple(
        choose(size, deleted.get(size.name, 0), wish)
        for size in measure(database)
        if BY_NAME[size.name].reclaim
    )


def reclaim(job: Reclaiming) -> None:
    """Vacuum the whole catalogue, and rewrite what pays.

    Raises:
        Stopped: between two tables.
        ConnectionFailed: the database is gone.
    """
    if job.wish.mode == "none":
        return
    if not job.database.is_postgresql:
        with job.ledger.working_on(WHOLE_FILE):
            _reclaim_file(job)
        return
    for place, table in enumerate(TABLES):
        job.pace(Progress(table.name, place, len(TABLES)))
        with job.ledger.working_on(table.name):
            _reclaim_table(job, table.name)


def choose(size: TableSize, deleted: int, wish: Reclaim) -> Choice:
    """Decide about one table; a pure function of what was measured.

    Args:
        size: the table as it is now.
        deleted: rows that are still counted in `size` but will be gone.
        wish: mode and thresholds.
    """
    share = min(1.0, deleted / size.rows) if size.rows else 0.0
    free = size.bloat_bytes + int(share * (size.bytes - size.bloat_bytes))
    percent = 100 * free / size.bytes if size.bytes else 0.0
    if wish.mode == "none":
        return Choice(size.name, "none", 0, "vacuum is none")
    if wish.mode == "plain":
        return Choice(size.name, "plain", 0, "vacuum is plain")
    if free < wish.min_bytes or percent < wish.min_percent:
        return Choice(
            size.name,
            "plain",
            0,
            f"a rewrite would give back {room.shown(free)}, {percent:.0f} %: below "
            f"{room.shown(wish.min_bytes)} or {wish.min_percent} %",
        )
    return Choice(
        size.name, "full", free, f"a rewrite gives back {room.shown(free)}, {percent:.0f} % of it"
    )


def _choose_file(database: Database, wish: Reclaim, deleted: Mapping[str, int]) -> Choice:
    """Decide about an SQLite file, which is rewritten as a whole or not at all."""
    free = sqlite_free_bytes(database)
    if deleted:
        for table in measure(database):
            share = deleted.get(table.name, 0) / table.rows if table.rows else 0.0
            free += int(table.bytes * min(1.0, share))
    size = database_bytes(database)
    return choose(
        TableSize(WHOLE_FILE, 0, "", size, 0, 0, size, 0, free, "exact: freelist_count", None),
        0,
        wish,
    )


def _reclaim_table(job: Reclaiming, table: str) -> None:
    database = job.database
    if not may_vacuum(database, table):
        raise PrivilegeError(
            f"the role in db_url may not VACUUM {table}; make it the owner, "
            "or grant MAINTAIN (PostgreSQL 17 and newer)"
        )
    if job.deleted.get(table) or not database.scalar(sizes.ANALYSED, t=table):
        # The choice rests on how many rows are left; only fresh statistics know.
        _vacuum(database, f"ANALYZE {table}")
    if BY_NAME[table].reclaim:
        choice = choose(measure(database, only=table)[0], 0, job.wish)
    else:
        choice = Choice(table, "plain", 0, "never large")
    job.choices[table] = choice
    if choice.action == "full":
        total = int(database.scalar("SELECT pg_total_relation_size(to_regclass(:t))", t=table))
        job.warnings.extend(room.prove(database, table, total - choice.gives_back))
        job.locked[table] = _vacuum(database, f"VACUUM (FULL) {table}")
    _vacuum(database, f"VACUUM (ANALYZE) {table}")


def _reclaim_file(job: Reclaiming) -> None:
    """Rewrite the file when it pays, then empty the write-ahead log into it.

    After VACUUM the file keeps its size until a checkpoint (SQLite manual, VACUUM and WAL).
    """
    database = job.database
    choice = _choose_file(database, job.wish, {})
    job.choices[WHOLE_FILE] = choice
    if choice.action == "full":
        live = database.file.stat().st_size - sqlite_free_bytes(database)
        room.require(database.file.parent, live, "the SQLite file")
        job.locked[WHOLE_FILE] = _timed(database, "VACUUM")
    for _ in range(_CHECKPOINT_ATTEMPTS):
        if not database.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
            return
        time.sleep(0.5)
    raise LockTimeout(
        "the write-ahead log could not be emptied because a reader holds it; "
        "the space comes back at the next checkpoint"
    )


def _timed(database: Database, sql: str) -> float:
    started = time.monotonic()
    database.run(sql)
    return time.monotonic() - started


def _vacuum(database: Database, sql: str) -> float:
    """Carry out a VACUUM or ANALYZE and take PostgreSQL's warning that it skipped for a failure."""
    driver = database.connection.connection.driver_connection
    notices: list[str] = driver.notices if driver is not None else []
    notices.clear()
    seconds = database.patiently(lambda: _timed(database, sql))
    skipped = [notice for notice in notices if "skipping it" in notice]
    if skipped:
        raise PrivilegeError(skipped[0].strip().removeprefix("WARNING:").strip())
    return seconds
