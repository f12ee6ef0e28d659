"""Purge a table online at the cost of what it keeps: copy, follow, swap.

The survivors are copied beside the table while everybody goes on working. A row trigger writes
down the id of every row that is inserted, updated or deleted meanwhile; those rows are settled in
the copy, the last of them under the lock in which copy and table change names. That lock lasts
for some renames and the last few rows, whatever the size of the table.

Nothing is deleted before the swap and the swap is one transaction, so an interruption leaves
either the old table whole or the new one; the next run removes what lies beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from queue import SimpleQueue

from . import relations, room
from .batches import HEAP_SHARE, heap_slices, indexed, sample
from .connection import Database, connect
from .errors import ConnectionFailed, LockTimeout, MaintenanceError
from .inspect import total_bytes
from .pace import Pace, Progress

# While the lock is asked for, everybody queues behind the asker; this is how long at a time.
ATTEMPT_MS = 50
# Settled without a lock until at most so many changes are left for the swap.
FEW_CHANGES = 200
_ROUNDS = 100
# Bytes of WAL by which a standby may be behind when a rewrite begins.
LAG = 256 * 2**20
# Memory for all index builds together.
_MEMORY_MB = 256
# Rows that are copied in one transaction, so that no snapshot is held for long.
_PIECE = 500_000


class Refused(MaintenanceError):
    """The table has something that a swap would not carry over; it is purged by deletes."""


@dataclass(frozen=True)
class Rewritten:
    """What a rewrite did.

    Attributes:
        rows: rows that are gone.
        locked: seconds for which it kept everybody out.
        copied: bytes of the copy, indexes included: the disk that it needed.
    """

    rows: int
    locked: float
    copied: int


@dataclass(frozen=True)
class Rewrite:
    """One rewrite.

    Attributes:
        keeps: conditions on `x`, exclusive of each other; a row that meets one is kept. The
            first is the one that most rows meet.
        bound: values of the conditions.
        age: the column that dates the rows.
        patience: seconds in which each lock must be had, in attempts of some milliseconds.
        pace: asked between two pieces of the copy whether to go on.
    """

    database: Database
    table: str
    keeps: tuple[str, ...]
    bound: dict[str, object]
    age: str
    patience: float
    pace: Pace

    @property
    def copy(self) -> str:
        """The table that takes the place of the old one."""
        return f"{self.table}__maintenance_new"

    @property
    def old(self) -> str:
        """The old table after the swap."""
        return f"{self.table}__maintenance_old"

    @property
    def changes(self) -> str:
        """The ids of rows that changed since the copy began."""
        return f"{self.table}__maintenance_changes"

    @property
    def function(self) -> str:
        """The function of the trigger that follows."""
        return f"{self.table}__maintenance_follow"


def rewrite(job: Rewrite) -> Rewritten:
    """Replace a table by a copy of the rows that it keeps.

    Raises:
        Refused: the table has something that would be lost; nothing was changed.
        LockTimeout: somebody holds the table or an old snapshot; nothing was changed.
        Stopped: between two pieces of the copy; nothing was changed.
        DiskFull: the copy did not fit; nothing was changed.
    """
    database = job.database
    clean_up(job)
    if reasons := relations.refusals(database, job.table):
        raise Refused(f"{job.table} cannot be swapped: {', '.join(reasons)}")
    try:
        _follow(job)
        copied = _copy(job)
        copied_until = str(database.scalar("SELECT CAST(pg_current_xact_id() AS xid)"))
        copied += _catch_up(job)
        locked, last = _swap(job, copied_until)
    except BaseException as error:
        if database.connection.invalidated:
            raise
        changed = isinstance(error, MaintenanceError) and "columns" in _differences(job)
        clean_up(job)
        if changed:
            raise Refused(f"the copy of {job.table} differs from it in columns") from None
        raise
    rows = int(database.scalar(f"SELECT count(*) FROM {job.old}")) - copied - last
    size = total_bytes(database, job.table)
    clean_up(job)
    return Rewritten(rows=rows, locked=locked, copied=size)


def obstacles(database: Database, table: str, kept_bytes: int) -> tuple[str, ...]:
    """Say what keeps a table from being rewritten; nothing when it can be.

    Args:
        database: on PostgreSQL.
        table: its name.
        kept_bytes: about so large will the copy be.
    """
    reasons = [*relations.refusals(database, table)]
    reasons += (row[0] for row in database.rows(relations.REPLICAS, wal=2 * kept_bytes, lag=LAG))
    lacking = room.shortage(database, kept_bytes, table)
    return (*reasons, lacking) if lacking else tuple(reasons)


def clean_up(job: Rewrite) -> None:
    """Remove what an interrupted rewrite left beside the table.

    Raises:
        LockTimeout: the table could not be locked to take the trigger away.
    """
    database = job.database
    if not database.scalar(relations.LEFT_OVER, pattern=f"{job.table}\\_\\_maintenance\\_%"):
        return
    if database.scalar(relations.FOLLOWED, t=job.table):
        with database.transaction(), _locked(job, "ACCESS EXCLUSIVE"):
            database.run(f"DROP TRIGGER IF EXISTS {job.function} ON {job.table}")
            database.run(f"DROP TRIGGER IF EXISTS {job.function}_all ON {job.table}")
    for table in (job.copy, job.changes, job.old):
        database.run(f"DROP TABLE IF EXISTS {table}")
    database.run(f"DROP FUNCTION IF EXISTS {job.function}()")


def _follow(job: Rewrite) -> None:
    """Begin to write down changes.

    The lock waits for every writer to end, so that whoever wrote without being followed has
    committed before the copy begins.
    """
    database = job.database
    with database.transaction():
        database.run(f"CREATE UNLOGGED TABLE {job.changes} (id uuid)")
        database.run(
            f"""
            CREATE FUNCTION {job.function}() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path FROM CURRENT AS $follow$
            BEGIN
                IF TG_OP = 'TRUNCATE' THEN
                    INSERT INTO {job.changes} VALUES (NULL);
                    RETURN NULL;
                END IF;
                IF TG_OP IN ('DELETE', 'UPDATE') THEN
                    INSERT INTO {job.changes} VALUES (OLD.id);
                END IF;
                IF TG_OP IN ('INSERT', 'UPDATE') THEN
                    INSERT INTO {job.changes} VALUES (NEW.id);
                END IF;
                RETURN NULL;
            END $follow$
            """
        )
        with _locked(job, "SHARE ROW EXCLUSIVE"):
            database.run(
                f"CREATE TRIGGER {job.function} AFTER INSERT OR UPDATE OR DELETE ON {job.table} "
                f"FOR EACH ROW EXECUTE FUNCTION {job.function}()"
            )
            database.run(
                f"CREATE TRIGGER {job.function}_all AFTER TRUNCATE ON {job.table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {job.function}()"
            )


def _copy(job: Rewrite) -> int:
    """Copy what is kept, give the copy its indexes and statistics; returns its rows."""
    database = job.database
    database.run(f"CREATE TABLE {job.copy} (LIKE {job.table} INCLUDING ALL EXCLUDING INDEXES)")
    for statement in relations.likeness(database, job.table, job.copy):
        database.run(statement)
    rows = 0
    most, *rest = job.keeps
    for keep in (*_pieces(job, most), *rest):
        rows += database.run(_insert(job, keep), **job.bound)
        job.pace(Progress(job.table, rows, None))
    # A row that moved from one piece to another was copied twice; settling it comes before the
    # primary key. What changes later is in one snapshot only.
    with database.transaction():
        rows += _settle(job).copied
    indexes = relations.indexes(database, job.table)
    _build(job, [index.on(job.copy) for index in indexes], rows)
    for index in indexes:
        if index.primary:
            database.run(
                f"ALTER TABLE {job.copy} ADD CONSTRAINT {index.temporary} "
                f"PRIMARY KEY USING INDEX {index.temporary}"
            )
        for statement in index.likeness:
            database.run(statement)
    # Statistics and the visibility map are to be there when the first query comes.
    database.run(f"VACUUM (FREEZE, ANALYZE) {job.copy}")
    return rows


def _build(job: Rewrite, indexes: list[str], rows: int) -> None:
    """Build several indexes at a time, each by one process.

    As many are at work as PostgreSQL would give to one index, and none waits for the others'
    part of it.
    """
    allowed = 1 + int(job.database.scalar("SHOW max_parallel_maintenance_workers"))
    with ExitStack() as opened:
        free: SimpleQueue[Database] = SimpleQueue()
        free.put(job.database)
        try:
            for _ in range(min(allowed, len(indexes)) - 1):
                free.put(opened.enter_context(connect(job.database.url, job.patience)))
        except ConnectionFailed:
            pass  # The server has no more places: the sessions that are there do it.
        builders = free.qsize()

        def build(index: str) -> None:
            database = free.get()
            try:
                with database.transaction():
                    database.run(f"SET LOCAL maintenance_work_mem = '{_MEMORY_MB // builders}MB'")
                    database.run("SET LOCAL max_parallel_maintenance_workers = 0")
                    database.run(index)
            finally:
                free.put(database)

        with ThreadPoolExecutor(builders) as pool:
            building = [pool.submit(build, index) for index in indexes]
            try:
                for built in as_completed(building):
                    built.result()
                    job.pace(Progress(job.table, rows, None))
            finally:
                for waiting in building:
                    waiting.cancel()


def _insert(job: Rewrite, condition: str) -> str:
    return f"INSERT INTO {job.copy} SELECT x.* FROM {job.table} x WHERE {condition}"


def _pieces(job: Rewrite, keep: str) -> Iterator[str]:
    """Cut the rows that meet a condition into pieces of bounded size.

    Rows that come later may lie outside of every piece; the trigger has written them down.
    """
    count, first, last = job.database.rows(
        f"SELECT count(*), min(x.{job.age}), max(x.{job.age}) FROM {job.table} x WHERE {keep}",
        **job.bound,
    )[0]
    pieces = -(-count // _PIECE)
    if pieces <= 1 or first == last:
        yield keep
        return
    held = sample(job.database, job.table).rows
    if count > HEAP_SHARE * held or not indexed(job.database, job.table, job.age):
        for where in heap_slices(job.database, job.table, _PIECE):
            yield f"{keep} AND {where}"
        return
    width = (last - first) / pieces
    inner = [f"'{(first + n * width).isoformat()}'" for n in range(1, pieces)]
    for begin, end in pairwise(("'-infinity'", *inner, "'infinity'")):
        yield f"{keep} AND x.{job.age} >= {begin} AND x.{job.age} < {end}"


@dataclass(frozen=True)
class _Settled:
    """Changes that were settled, and by how many rows the copy grew (or shrank)."""

    changes: int
    copied: int


def _settle(job: Rewrite) -> _Settled:
    """Bring the rows that changed up to date in the copy."""
    database = job.database
    database.run("CREATE TEMPORARY TABLE prefect_maintenance_settled (id uuid) ON COMMIT DROP")
    count = database.run(
        f"WITH d AS (DELETE FROM {job.changes} RETURNING id) "
        "INSERT INTO prefect_maintenance_settled SELECT DISTINCT id FROM d"
    )
    if not count:
        return _Settled(0, 0)
    if database.scalar("SELECT count(*) FROM prefect_maintenance_settled WHERE id IS NULL"):
        raise Refused(f"{job.table} was truncated meanwhile")
    chosen = "IN (SELECT s.id FROM prefect_maintenance_settled s)"
    taken = database.run(f"DELETE FROM {job.copy} x WHERE x.id {chosen}")
    keeps = " OR ".join(f"({keep})" for keep in job.keeps)
    put = database.run(
        f"INSERT INTO {job.copy} SELECT x.* FROM {job.table} x WHERE x.id {chosen} AND ({keeps})",
        **job.bound,
    )
    return _Settled(count, put - taken)


def _catch_up(job: Rewrite) -> int:
    """Settle without a lock until little is left; returns by how many rows the copy grew.

    Raises:
        LockTimeout: rows change faster than they can be settled.
    """
    copied = 0
    for _ in range(_ROUNDS):
        with job.database.transaction():
            settled = _settle(job)
        copied += settled.copied
        if settled.changes <= FEW_CHANGES:
            return copied
    raise LockTimeout(f"{job.table} changes faster than its copy can follow; run at a quieter hour")


def _swap(job: Rewrite, copied_until: str) -> tuple[float, int]:
    """Let the copy take the place of the table.

    Args:
        job: the rewrite.
        copied_until: the transaction id after which no snapshot misses a row of the copy.

    Returns:
        The seconds of the lock, and by how many rows the copy grew.
    """
    database = job.database
    _outlive_old_snapshots(job, copied_until)
    with database.transaction(), _locked(job, "SHARE UPDATE EXCLUSIVE"):
        # Whoever would change the table's shape is kept out by the lock that is held now.
        if changed := _differences(job):
            raise Refused(f"the copy of {job.table} differs from it in {', '.join(changed)}")
        names = [(i.name, i.temporary) for i in relations.indexes(database, job.table)]
        grown = _settle(job).copied
        database.run("DROP TABLE prefect_maintenance_settled")
        for keep in job.keeps[1:]:
            # Rows whose run came to life again since they were left out.
            missed = f"{keep} AND NOT EXISTS (SELECT 1 FROM {job.copy} c WHERE c.id = x.id)"
            grown += database.run(_insert(job, missed), **job.bound)
        with _locked(job, "ACCESS EXCLUSIVE"):
            began = time.monotonic()
            if holder := _old_snapshot(job, copied_until):
                raise LockTimeout(holder)
            grown += _settle(job).copied
            database.run(f"DROP TRIGGER {job.function} ON {job.table}")
            database.run(f"DROP TRIGGER {job.function}_all ON {job.table}")
            database.run(f"ALTER TABLE {job.table} RENAME TO {job.old}")
            for name, _ in names:
                database.run(f"ALTER INDEX {name} RENAME TO {_beside(name)}")
            database.run(f"ALTER TABLE {job.copy} RENAME TO {job.table}")
            for name, temporary in names:
                database.run(f"ALTER INDEX {temporary} RENAME TO {name}")
    return time.monotonic() - began, grown


def _outlive_old_snapshots(job: Rewrite, copied_until: str) -> None:
    """Wait, without a lock, until no transaction is left that would see the copy empty.

    Raises:
        LockTimeout: one is still there after the time allowed.
    """
    until = time.monotonic() + job.patience
    while holder := _old_snapshot(job, copied_until):
        if time.monotonic() > until:
            raise LockTimeout(holder)
        time.sleep(0.2)


def _old_snapshot(job: Rewrite, copied_until: str) -> str | None:
    holder = job.database.scalar(relations.OLD_SNAPSHOT, copied=copied_until)
    if holder is None:
        return None
    return (
        f"{holder} is in a transaction whose snapshot would see {job.table} empty; "
        "end it and run again"
    )


def _beside(name: str) -> str:
    return f"o__{name}"[:63]


def _differences(job: Rewrite) -> list[str]:
    """Name what of the table the copy, as far as it is there, does not have or has otherwise."""
    there, made = (relations.shape(job.database, t) for t in (job.table, job.copy))
    return sorted(key for key in made if there[key] != made[key])


@contextmanager
def _locked(job: Rewrite, mode: str) -> Iterator[None]:
    """Take a lock for the rest of the transaction without making others wait long.

    SHARE UPDATE EXCLUSIVE comes first: it lets readers and writers pass and makes autovacuum
    give way, which it does only for somebody who waits longer than deadlock_timeout. Only then
    is the stronger lock asked for, a few milliseconds at a time.

    Raises:
        LockTimeout: it could not be had in the time allowed.
    """
    database = job.database
    database.run(f"SET LOCAL lock_timeout = '{int(max(job.patience, 2.0) * 1000)}ms'")
    database.run(f"LOCK TABLE {job.table} IN SHARE UPDATE EXCLUSIVE MODE")
    if mode != "SHARE UPDATE EXCLUSIVE":
        database.run(f"SET LOCAL lock_timeout = '{ATTEMPT_MS}ms'")
        until = time.monotonic() + job.patience
        while True:
            database.run("SAVEPOINT attempt")
            try:
                database.run(f"LOCK TABLE {job.table} IN {mode} MODE")
                break
            except LockTimeout:
                database.run("ROLLBACK TO SAVEPOINT attempt")
                if time.monotonic() > until:
                    raise LockTimeout(
                        f"the lock on {job.table} could not be had in {job.patience:g} s: "
                        f"{relations.holders(database, job.table)}"
                    ) from None
                time.sleep(0.2)
    yield
