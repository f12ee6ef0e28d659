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
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from queue import SimpleQueue

from ..database.connection import Database, connect
from ..database.table_guard import Guard, guarded, take
from ..errors import ConnectionFailed, LockTimeout, MaintenanceError
from ..measure import disk_space, leftovers, relations, snapshots
from ..measure.leftovers import Names
from ..measure.obstacles import REPLICAS, refusals
from ..measure.sizes import total_bytes
from ..pace.pace import Pace, Progress
from .batches import HEAP_SHARE, heap_slices, indexed, sample

# Settled without a lock until at most so many changes are left for the swap.
FEW_CHANGES = 200
_ROUNDS = 100
# Bytes of WAL by which a standby may be behind when a rewrite begins.
LAG = 256 * 2**20
# Memory for all index builds together.
_MEMORY_MB = 256
# Rows that are copied in one transaction, so that no snapshot is held for long.
_PIECE = 500_000

# Flow runs `f` that were unfinished when the rows of theirs that stay were looked for; and those
# that have become so since.
_LIVE = """
CREATE TEMPORARY TABLE prefect_maintenance_live ON COMMIT DROP AS
SELECT f.id FROM flow_run f WHERE {live}
"""
_REVIVED = """
CREATE TEMPORARY TABLE prefect_maintenance_revived ON COMMIT DROP AS
SELECT f.id FROM flow_run f WHERE {live}
AND NOT EXISTS (SELECT 1 FROM prefect_maintenance_live l WHERE l.id = f.id)
"""
# Joins a condition on an unfinished flow run `f`.
AMONG_REVIVED = "AND f.id IN (SELECT v.id FROM prefect_maintenance_revived v)"


class Refused(MaintenanceError):
    """The table has something that a swap would not carry over; it is purged by deletes."""


@dataclass(frozen=True)
class Rewritten:
    """What a rewrite did.

    Attributes:
        rows: rows that are gone.
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


@dataclass(frozen=True)
class Rewrite:
    """One rewrite.

    Attributes:
        keeps: conditions on `x`, exclusive of each other; a row that meets one is kept. The
            first is the one that most rows meet.
        bound: values of the conditions.
        age: the column that dates the rows.
        lock_timeout: seconds in which each lock must be had, in attempts of some milliseconds.
        pace: asked between two pieces of the copy whether to go on.
        expected: rows that are to go, as planned.
        live: condition on a flow run `f` whose rows stay; nothing where age alone decides.
        revived: the keeps after the first, for the runs in `prefect_maintenance_revived` only.
    """

    database: Database
    table: str
    keeps: tuple[str, ...]
    bound: dict[str, object]
    age: str
    lock_timeout: float
    pace: Pace
    expected: int = 0
    live: str = ""
    revived: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Work:
    """A rewrite at work: its names, the session that copies, and who holds the table."""

    job: Rewrite
    names: Names
    copier: Database
    guard: Guard

    def go_on(self, rows: int) -> None:
        """Ask the pace, and whether the table is still held."""
        self.job.pace(Progress(self.job.table, rows, None))
        self.guard.check()


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
    _require_whole(job)
    names = leftovers.beside(job.database, job.table)
    try:
        with ExitStack() as opened:
            try:
                copier = opened.enter_context(connect(job.database.url, job.lock_timeout))
            except ConnectionFailed as error:
                raise Refused(f"{job.table} needs a second session: {error}") from None
            _follow(job, names)
            began, copied = _replaced(job, names, copier)
    except BaseException as error:
        if job.database.connection.invalidated:
            raise
        try:
            leftovers.remove(job.database, job.table, job.lock_timeout)
        except MaintenanceError as left:
            if isinstance(error, MaintenanceError):
                why = f"{error}; the next step removes what lies beside it ({left})"
                raise type(error)(why) from None
        raise
    return _finished(job, names, copied, time.monotonic() - began)


def _replaced(job: Rewrite, names: Names, copier: Database) -> tuple[float, int]:
    """Copy and swap; returns when the strong lock was had, and the rows of the new table."""
    swapping = False
    try:
        with guarded(job.database, names.table, job.lock_timeout, [copier]) as guard:
            work = _Work(job, names, copier, guard)
            # What came between the look before and the lock that holds the table still.
            _require_whole(job)
            file = relations.files(job.database, job.table)
            guard.watch()
            copied = _copy(work)
            copied += _catch_up(work)
            snapshots.outlive(
                copier, job.table, job.lock_timeout, guard.pids(), lambda: work.go_on(copied)
            )
            copied += _catch_up(work)
            guard.rest()
            guard.check()
            began, grown = _swap(work, file)
            swapping = True
    except ConnectionFailed as error:
        if not swapping:
            raise
        raise ConnectionFailed(
            f"{error}; {job.table} was being swapped: the next run tells whether it was"
        ) from None
    return began, copied + grown


def _require_whole(job: Rewrite, table: str | None = None) -> None:
    """Make sure that a swap would carry everything over.

    Raises:
        Refused: it would not.
    """
    if reasons := refusals(job.database, table or job.table):
        raise Refused(f"{job.table} cannot be swapped: {', '.join(reasons)}")


def _finished(job: Rewrite, names: Names, copied: int, locked: float) -> Rewritten:
    """Count what is gone and remove the old table; whatever fails here, the rows are gone.

    Raises:
        LostAfterSwap: the session is gone; it says what was done.
    """
    database = job.database
    done = Rewritten(rows=job.expected, locked=locked, copied=0)
    try:
        try:
            before = int(database.scalar(f"SELECT count(*) FROM {names.bare}__maintenance_old"))
            done = replace(done, rows=before - copied)
        except LockTimeout as error:
            told = f"the rows that left {job.table} are those of the plan: {error}"
            done = replace(done, warnings=(told,))
        done = replace(done, copied=total_bytes(database, job.table))
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


def obstacles(database: Database, table: str, kept_bytes: int) -> tuple[str, ...]:
    """Say what keeps a table from being rewritten; nothing when it can be.

    Args:
        database: on PostgreSQL.
        table: its name.
        kept_bytes: about so large will the copy be.
    """
    reasons = [*refusals(database, table)]
    reasons += (row[0] for row in database.rows(REPLICAS, wal=2 * kept_bytes, lag=LAG))
    lacking = disk_space.shortage(database, kept_bytes, table)
    return (*reasons, lacking) if lacking else tuple(reasons)


def _follow(job: Rewrite, names: Names) -> None:
    """Begin to write down changes, of every session and whatever its replication role.

    The lock waits for every writer to end, so that whoever wrote without being followed has
    committed before the copy begins. The function runs with the rights of its owner in the
    session of whoever writes: its search path is its own, and its tables are named in full.
    """
    database = job.database
    rows, all_rows = names.triggers
    with database.transaction():
        database.ddl(f"CREATE UNLOGGED TABLE {names.changes} (id uuid)")
        database.ddl(
            f"""
            CREATE FUNCTION {names.function}() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $follow$
            BEGIN
                IF TG_OP = 'TRUNCATE' THEN
                    INSERT INTO {names.changes} VALUES (NULL);
                    RETURN NULL;
                END IF;
                IF TG_OP IN ('DELETE', 'UPDATE') THEN
                    INSERT INTO {names.changes} VALUES (OLD.id);
                END IF;
                IF TG_OP IN ('INSERT', 'UPDATE') THEN
                    INSERT INTO {names.changes} VALUES (NEW.id);
                END IF;
                RETURN NULL;
            END $follow$
            """
        )
        database.ddl(f"REVOKE ALL ON FUNCTION {names.function}() FROM PUBLIC")
        take(database, names.table, "SHARE ROW EXCLUSIVE", job.lock_timeout)
        database.ddl(
            f"CREATE TRIGGER {rows} AFTER INSERT OR UPDATE OR DELETE ON {names.table} "
            f"FOR EACH ROW EXECUTE FUNCTION {names.function}()"
        )
        database.ddl(
            f"CREATE TRIGGER {all_rows} AFTER TRUNCATE ON {names.table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {names.function}()"
        )
        for trigger in names.triggers:
            database.ddl(f"ALTER TABLE {names.table} ENABLE ALWAYS TRIGGER {trigger}")


def _copy(work: _Work) -> int:
    """Copy what is kept, give the copy its indexes and statistics; returns its rows."""
    job, names, database = work.job, work.names, work.copier
    database.ddl(f"CREATE TABLE {names.copy} (LIKE {names.table} INCLUDING ALL EXCLUDING INDEXES)")
    for statement in relations.copy_attributes(database, job.table, names.copy):
        database.ddl(statement)
    rows = 0
    most, *rest = job.keeps
    for keep in (*_pieces(work, most), *rest):
        rows += database.run(_insert(work, keep), **job.bound)
        work.go_on(rows)
    # A row that moved from one piece to another was copied twice; settling it comes before the
    # primary key. What changes later is in one snapshot only.
    with database.transaction():
        rows += _settle(work, database).copied
    indexes = relations.indexes(database, job.table)
    _build(work, [index.on(names.copy) for index in indexes], rows)
    for index in indexes:
        if index.primary:
            database.ddl(
                f"ALTER TABLE {names.copy} ADD CONSTRAINT {index.temporary} "
                f"PRIMARY KEY USING INDEX {index.temporary}"
            )
        if index.comment:
            made = f"{names.schema}.{index.temporary}"
            database.ddl(f"COMMENT ON INDEX {made} IS {index.comment}")
    # Statistics and the visibility map are to be there when the first query comes.
    database.ddl(f"VACUUM (FREEZE, ANALYZE) {names.copy}")
    return rows


def _build(work: _Work, indexes: list[str], rows: int) -> None:
    """Build several indexes at a time, each by one process.

    As many are at work as PostgreSQL would give to one index, and none waits for the others'
    part of it.
    """
    job = work.job
    allowed = 1 + int(work.copier.scalar("SHOW max_parallel_maintenance_workers"))
    with ExitStack() as opened:
        free: SimpleQueue[Database] = SimpleQueue()
        free.put(work.copier)
        try:
            for _ in range(min(allowed, len(indexes)) - 1):
                more = opened.enter_context(connect(job.database.url, job.lock_timeout))
                free.put(more)
                opened.callback(work.guard.release, work.guard.add(more))
        except ConnectionFailed:
            pass  # The server has no more places: the sessions that are there do it.
        builders = free.qsize()

        def build(index: str) -> None:
            database = free.get()
            try:
                with database.transaction():
                    database.run(f"SET LOCAL maintenance_work_mem = '{_MEMORY_MB // builders}MB'")
                    database.run("SET LOCAL max_parallel_maintenance_workers = 0")
                    database.ddl(index)
            finally:
                free.put(database)

        with ThreadPoolExecutor(builders) as pool:
            building = [pool.submit(build, index) for index in indexes]
            try:
                for built in as_completed(building):
                    built.result()
                    work.go_on(rows)
            finally:
                for waiting in building:
                    waiting.cancel()


def _insert(work: _Work, condition: str) -> str:
    table = work.job.table
    return f"INSERT INTO {table}__maintenance_new SELECT x.* FROM {table} x WHERE {condition}"


def _pieces(work: _Work, keep: str) -> Iterator[str]:
    """Cut the rows that meet a condition into pieces of bounded size.

    Rows that come later may lie outside of every piece; the trigger has written them down.
    """
    job, database = work.job, work.copier
    count, first, last = database.rows(
        f"SELECT count(*), min(x.{job.age}) FILTER (WHERE isfinite(x.{job.age})), "
        f"max(x.{job.age}) FILTER (WHERE isfinite(x.{job.age})) "
        f"FROM {job.table} x WHERE {keep}",
        **job.bound,
    )[0]
    pieces = -(-count // _PIECE)
    if pieces <= 1 or first == last:
        yield keep
        return
    held = sample(database, job.table).rows
    if count > HEAP_SHARE * held or not indexed(database, job.table, job.age):
        for where in heap_slices(database, job.table, _PIECE):
            yield f"{keep} AND {where}"
        return
    width = (last - first) / pieces
    inner = [f"'{(first + n * width).isoformat()}'" for n in range(1, pieces)]
    yield f"{keep} AND x.{job.age} < {inner[0]}"
    for begin, end in pairwise(inner):
        yield f"{keep} AND x.{job.age} >= {begin} AND x.{job.age} < {end}"
    # Without an end: an infinite date is kept like any other that is young enough.
    yield f"{keep} AND x.{job.age} >= {inner[-1]}"


@dataclass(frozen=True)
class _Settled:
    """Changes that were settled, and by how many rows the copy grew (or shrank)."""

    changes: int
    copied: int


def _settle(work: _Work, database: Database) -> _Settled:
    """Bring the rows that changed up to date in the copy."""
    job, table = work.job, work.job.table
    database.run("CREATE TEMPORARY TABLE prefect_maintenance_settled (id uuid) ON COMMIT DROP")
    count = database.run(
        f"WITH d AS (DELETE FROM {table}__maintenance_changes RETURNING id) "
        "INSERT INTO prefect_maintenance_settled SELECT DISTINCT id FROM d"
    )
    if not count:
        return _Settled(0, 0)
    if database.scalar("SELECT count(*) FROM prefect_maintenance_settled WHERE id IS NULL"):
        raise Refused(f"{table} was truncated meanwhile")
    chosen = "IN (SELECT s.id FROM prefect_maintenance_settled s)"
    taken = database.run(f"DELETE FROM {table}__maintenance_new x WHERE x.id {chosen}")
    keeps = " OR ".join(f"({keep})" for keep in job.keeps)
    put = database.run(_insert(work, f"x.id {chosen} AND ({keeps})"), **job.bound)
    return _Settled(count, put - taken)


def _catch_up(work: _Work) -> int:
    """Settle without a lock until little is left; returns by how many rows the copy grew.

    Raises:
        LockTimeout: rows change faster than they can be settled.
    """
    copied = 0
    for _ in range(_ROUNDS):
        with work.copier.transaction():
            settled = _settle(work, work.copier)
        copied += settled.copied
        work.guard.check()
        if settled.changes <= FEW_CHANGES:
            return copied
    table = work.job.table
    raise LockTimeout(f"{table} changes faster than its copy can follow; run at a quieter hour")


def _swap(work: _Work, file: int) -> tuple[float, int]:
    """Let the copy take the place of the table, in the transaction that holds it.

    Args:
        work: the rewrite.
        file: of the table when the copy began.

    Returns:
        When the strong lock was had (monotonic seconds), and by how many rows the copy grew.
    """
    job, names, database = work.job, work.names, work.job.database
    indexes = relations.indexes(database, job.table)
    grown = _missed(work)
    work.guard.lock("ACCESS EXCLUSIVE")
    began = time.monotonic()
    if relations.files(database, job.table) != file:
        raise Refused(f"the rows of {job.table} were moved meanwhile")
    if relations.followed(database, job.table) != len(names.triggers):
        raise Refused(f"the triggers that follow {job.table} were switched off meanwhile")
    grown += _settle(work, database).copied
    grown += _revived(work)
    leftovers.drop_triggers(database, names)
    database.ddl(f"ALTER TABLE {names.table} RENAME TO {names.old_name}")
    for index in indexes:
        database.ddl(f"ALTER INDEX {names.schema}.{index.name} RENAME TO {index.beside}")
    database.ddl(f"ALTER TABLE {names.copy} RENAME TO {names.bare}")
    for index in indexes:
        database.ddl(f"ALTER INDEX {names.schema}.{index.temporary} RENAME TO {index.name}")
    # Only now: a GRANT takes no lock on the table, but none can change a row of the catalog
    # that this transaction has changed.
    _require_whole(job, names.old)
    if changed := _differences(work):
        raise Refused(f"the copy of {job.table} differs from it in {', '.join(changed)}")
    return began, grown


def _missed(work: _Work) -> int:
    """Copy rows whose run came to life since they were left out; returns their number."""
    job, database = work.job, work.job.database
    if not job.live:
        return 0
    database.run(_LIVE.format(live=job.live))
    return _copied_late(work, job.keeps[1:])


def _revived(work: _Work) -> int:
    """The same under the lock, and only for runs that came to life since `_missed`."""
    job, database = work.job, work.job.database
    if not job.live or not database.run(_REVIVED.format(live=job.live)):
        return 0
    return _copied_late(work, job.revived)


def _copied_late(work: _Work, keeps: tuple[str, ...]) -> int:
    rows = 0
    for keep in keeps:
        late = (
            f"{keep} AND NOT EXISTS (SELECT 1 FROM {work.job.table}__maintenance_new c "
            "WHERE c.id = x.id)"
        )
        rows += work.job.database.run(_insert(work, late), **work.job.bound)
    return rows


def _differences(work: _Work) -> list[str]:
    """Name what of the old table the new one does not have or has otherwise."""
    there = relations.shape(work.job.database, work.names.old)
    made = relations.shape(work.job.database, work.names.table)
    return sorted(key for key in made if there.get(key) != made[key])
