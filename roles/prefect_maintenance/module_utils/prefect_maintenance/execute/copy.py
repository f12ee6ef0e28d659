"""The copy of what a rewrite keeps: rows in pieces, indexes side by side, changes settled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..database.connection import Database
from ..errors import LockTimeout
from ..measure import relations
from .archive_victims import archive_settled
from .batches import HEAP_SHARE, heap_slices, indexed, rows_about
from .crew import build, counted, crew
from .rewrite_job import Grown, Refused, Work

# Settled without a lock until at most so many changes are left for the swap.
FEW_CHANGES = 200
_ROUNDS = 100
# Rows that are copied in one transaction, so that no snapshot is held for long.
_PIECE = 500_000

# Rows that changed, each once, and by how many the table grew with its changes.
_SETTLED = """
CREATE TEMPORARY TABLE prefect_maintenance_settled (id uuid, grown bigint) ON COMMIT DROP
"""
_TO_SETTLE = """
WITH d AS (DELETE FROM {table}__maintenance_changes RETURNING id, grown)
INSERT INTO prefect_maintenance_settled SELECT id, sum(grown) FROM d GROUP BY id
"""
_OF_SETTLED = """
SELECT count(*) FILTER (WHERE id IS NULL), CAST(sum(grown) AS bigint)
FROM prefect_maintenance_settled
"""


def copy(work: Work) -> Grown:
    """Copy what is kept, give the copy its indexes and statistics; returns the rows of both."""
    job, names, database = work.job, work.names, work.copier
    database.ddl(f"CREATE TABLE {names.copy} (LIKE {names.table} INCLUDING ALL EXCLUDING INDEXES)")
    for statement in relations.copy_attributes(database, job.table, names.copy):
        database.ddl(statement)
    indexes = relations.indexes(database, job.table)
    with crew(work, len(indexes)) as sessions, counted(work, sessions) as rows:
        grown = _copy_rows(work)
        sessions.free.put(database)
        build(work, sessions, [index.on(names.copy) for index in indexes])
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
        return grown + Grown(table=rows())


def _copy_rows(work: Work) -> Grown:
    job, database, rows = work.job, work.copier, 0
    most, *rest = job.keeps
    total, pieces = _pieces(work, most)
    for keep in (*pieces, *rest):
        rows += database.run(insert(work, keep), **job.bound)
        work.go_on(rows, max(rows, total))
    # A row that moved from one piece to another was copied twice; settling it comes before the
    # primary key. What changes later is in one snapshot only.
    with database.transaction():
        return Grown(copy=rows) + settle(work, database).grown


def _pieces(work: Work, keep: str) -> tuple[int, Iterable[str]]:
    """Count the rows that meet a condition, and cut them into pieces of bounded size.

    Rows that come later may lie outside of every piece; the trigger has written them down. Where
    rows of any age may be kept, they are not counted: that would read the table once more.
    """
    job, database = work.job, work.copier
    if not job.within:
        slices = heap_slices(database, job.table, lambda: _PIECE)
        kept = max(0, int(rows_about(database, job.table)) - job.expected)
        return kept, (f"{keep} AND {where}" for where in slices)
    if job.stays is not None and job.stays <= _PIECE * 3 // 4:
        # About so few that all of them are one piece.
        return job.stays, [keep]
    count, first, last = database.rows(
        f"SELECT count(*), min(x.{job.age}) FILTER (WHERE isfinite(x.{job.age})), "
        f"max(x.{job.age}) FILTER (WHERE isfinite(x.{job.age})) "
        f"FROM {job.table} x WHERE {job.within}",
        **job.bound,
    )[0]
    number = -(-count // _PIECE)
    if number <= 1 or first == last:
        return count, [keep]
    held = rows_about(database, job.table)
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
    """Changes that were settled, and by how many rows copy and table have grown with them."""

    changes: int
    grown: Grown = field(default_factory=Grown)


def settle(work: Work, database: Database) -> Settled:
    """Bring the rows that changed up to date in the copy."""
    job, table = work.job, work.job.table
    database.run(_SETTLED)
    count = database.run(_TO_SETTLE.format(table=table))
    if not count:
        return Settled(0)
    truncated, grown = database.rows(_OF_SETTLED)[0]
    if truncated:
        raise Refused(f"{table} was truncated meanwhile")
    chosen = "IN (SELECT s.id FROM prefect_maintenance_settled s)"
    taken = database.run(f"DELETE FROM {table}__maintenance_new x WHERE x.id {chosen}")
    keeps = " OR ".join(f"({keep})" for keep in job.keeps)
    put = database.run(insert(work, f"x.id {chosen} AND ({keeps})"), **job.bound)
    archive_settled(work, database)
    return Settled(count, Grown(put - taken, grown))


def catch_up(work: Work) -> Grown:
    """Settle without a lock until little is left.

    Raises:
        LockTimeout: rows change faster than they can be settled.
    """
    grown = Grown()
    for _ in range(_ROUNDS):
        with work.copier.transaction():
            settled = settle(work, work.copier)
        grown += settled.grown
        work.guard.check()
        if settled.changes <= FEW_CHANGES:
            return grown
    table = work.job.table
    raise LockTimeout(f"{table} changes faster than its copy can follow; run at a quieter hour")
