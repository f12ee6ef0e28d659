"""The copy of what a rewrite keeps: rows in pieces, indexes side by side, changes settled."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from queue import SimpleQueue

from ..database.connection import Database, connect
from ..errors import ConnectionFailed, LockTimeout
from ..measure import relations
from .archive_victims import archive_settled
from .batches import HEAP_SHARE, heap_slices, indexed, sample
from .rewrite_job import Refused, Work

# Settled without a lock until at most so many changes are left for the swap.
FEW_CHANGES = 200
_ROUNDS = 100
# Memory for all index builds together.
_MEMORY_MB = 256
# Rows that are copied in one transaction, so that no snapshot is held for long.
_PIECE = 500_000


def copy(work: Work) -> int:
    """Copy what is kept, give the copy its indexes and statistics; returns its rows."""
    job, names, database = work.job, work.names, work.copier
    database.ddl(f"CREATE TABLE {names.copy} (LIKE {names.table} INCLUDING ALL EXCLUDING INDEXES)")
    for statement in relations.copy_attributes(database, job.table, names.copy):
        database.ddl(statement)
    rows = 0
    most, *rest = job.keeps
    total, pieces = _pieces(work, most)
    for keep in (*pieces, *rest):
        rows += database.run(insert(work, keep), **job.bound)
        work.go_on(rows, max(rows, total))
    # A row that moved from one piece to another was copied twice; settling it comes before the
    # primary key. What changes later is in one snapshot only.
    with database.transaction():
        rows += settle(work, database).copied
    indexes = relations.indexes(database, job.table)
    _build(work, [index.on(names.copy) for index in indexes])
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


def _build(work: Work, indexes: list[str]) -> None:
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
                for number, built in enumerate(as_completed(building), 1):
                    built.result()
                    work.go_on(number, len(indexes), "indexes")
            finally:
                for waiting in building:
                    waiting.cancel()


def _pieces(work: Work, keep: str) -> tuple[int, Iterable[str]]:
    """Count the rows that meet a condition, and cut them into pieces of bounded size.

    Rows that come later may lie outside of every piece; the trigger has written them down. Where
    rows of any age may be kept, they are not counted: that would read the table once more.
    """
    job, database = work.job, work.copier
    if not job.within:
        slices = heap_slices(database, job.table, lambda: _PIECE)
        kept = max(0, int(sample(database, job.table).rows) - job.expected)
        return kept, (f"{keep} AND {where}" for where in slices)
    count, first, last = database.rows(
        f"SELECT count(*), min(x.{job.age}) FILTER (WHERE isfinite(x.{job.age})), "
        f"max(x.{job.age}) FILTER (WHERE isfinite(x.{job.age})) "
        f"FROM {job.table} x WHERE {job.within}",
        **job.bound,
    )[0]
    number = -(-count // _PIECE)
    if number <= 1 or first == last:
        return count, [keep]
    held = sample(database, job.table).rows
    if count > HEAP_SHARE * held or not indexed(database, job.table, job.age):
        slices = heap_slices(database, job.table, lambda: _PIECE)
        return count, (f"{keep} AND {where}" for where in slices)
    width = (last - first) / number
    inner = [f"'{(first + n * width).isoformat()}'" for n in range(1, number)]
    # Without an end: an infinite date is kept like any other that is young enough.
    ends = [*(f" AND x.{job.age} < {end}" for end in inner), ""]
    begins = ["", *(f" AND x.{job.age} >= {begin}" for begin in inner)]
    return count, [f"{keep}{begin}{end}" for begin, end in zip(begins, ends, strict=True)]


def insert(work: Work, condition: str) -> str:
    """Write the statement that copies the rows `x` that meet a condition."""
    table = work.job.table
    return f"INSERT INTO {table}__maintenance_new SELECT x.* FROM {table} x WHERE {condition}"


@dataclass(frozen=True)
class Settled:
    """Changes that were settled, and by how many rows the copy grew (or shrank)."""

    changes: int
    copied: int


def settle(work: Work, database: Database) -> Settled:
    """Bring the rows that changed up to date in the copy."""
    job, table = work.job, work.job.table
    database.run("CREATE TEMPORARY TABLE prefect_maintenance_settled (id uuid) ON COMMIT DROP")
    count = database.run(
        f"WITH d AS (DELETE FROM {table}__maintenance_changes RETURNING id) "
        "INSERT INTO prefect_maintenance_settled SELECT DISTINCT id FROM d"
    )
    if not count:
        return Settled(0, 0)
    if database.scalar("SELECT count(*) FROM prefect_maintenance_settled WHERE id IS NULL"):
        raise Refused(f"{table} was truncated meanwhile")
    chosen = "IN (SELECT s.id FROM prefect_maintenance_settled s)"
    taken = database.run(f"DELETE FROM {table}__maintenance_new x WHERE x.id {chosen}")
    keeps = " OR ".join(f"({keep})" for keep in job.keeps)
    put = database.run(insert(work, f"x.id {chosen} AND ({keeps})"), **job.bound)
    archive_settled(work, database)
    return Settled(count, put - taken)


def catch_up(work: Work) -> int:
    """Settle without a lock until little is left; returns by how many rows the copy grew.

    Raises:
        LockTimeout: rows change faster than they can be settled.
    """
    copied = 0
    for _ in range(_ROUNDS):
        with work.copier.transaction():
            settled = settle(work, work.copier)
        copied += settled.copied
        work.guard.check()
        if settled.changes <= FEW_CHANGES:
            return copied
    table = work.job.table
    raise LockTimeout(f"{table} changes faster than its copy can follow; run at a quieter hour")
