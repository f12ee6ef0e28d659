"""Delete the rows of a table that go by their age, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..catalogue import BY_NAME
from ..database.set_for import NOT_ON_DISK, set_for
from ..events import Progress
from .batches import (
    HEAP_SHARE,
    SQLITE_BATCH,
    Rows,
    heap_slices,
    in_parts,
    indexed,
    rows_about,
    run_batch,
    time_slices,
)
from .purge_job import Purge

_THERE = "SELECT EXISTS (SELECT 1 FROM {table} x WHERE x.{age} < :cutoff AND {rows})"
# Of what a join finds few rows the planner may believe that there is one, and read them again for
# each row of a batch.
_READ_ONCE = {"enable_nestloop": "off"}


def delete_aged(job: Purge, table: str) -> None:
    """Delete the rows of a table that go by their age, one kind after the other.

    A row of a kind that was not there at the beginning goes with the next run.
    """
    age, bound = BY_NAME[table].age, job.rules.values(BY_NAME[table], job.cutoffs)
    by_time = indexed(job.database, table, age) and not _large(job, table)
    for kind in job.rules.watched.aged_apart(table):
        there = _THERE.format(table=table, age=age, rows=kind.rows)
        if job.database.scalar(there, cutoff=bound["cutoff"]):
            with set_for(job.database, {**NOT_ON_DISK, **(_READ_ONCE if kind.joined else {})}):
                _delete_kind(job, table, f"{kind.rows} AND {kind.goes}", bound, by_time)


def _delete_kind(
    job: Purge, table: str, goes: str, bound: Mapping[str, Any], by_time: bool
) -> None:
    database, age = job.database, BY_NAME[table].age
    sql = f"DELETE FROM {table} AS x WHERE {{where}} AND {goes}"

    if not by_time:
        for where in heap_slices(database, table, rows_of(job)):
            batch(job, table, "delete by heap range", sql.format(where=where), **bound)
        return
    within = f"x.{age} >= :first AND x.{age} < :last"
    sql = sql.format(where=within)
    for first, last, crowded in time_slices(database, table, age, bound["cutoff"], rows_of(job)):
        slice_of = {**bound, "first": first, "last": last}
        if crowded:
            parts(job, table, "delete by time range", f"{within} AND {goes}", **slice_of)
        else:
            batch(job, table, "delete by time range", sql, **slice_of)


def batch(job: Purge, table: str, strategy: str, sql: str, **bound: Any) -> None:
    """Delete rows of one slice in one transaction."""
    note(job, table, strategy, run_batch(job.database, table, sql, **bound))


def parts(job: Purge, table: str, strategy: str, goes: str, **bound: Any) -> None:
    """Delete rows `x` that nothing cuts but their number."""
    for rows in in_parts(job.database, table, goes, rows_of(job), **bound):
        note(job, table, strategy, rows)


def note(job: Purge, table: str, strategy: str, rows: int) -> None:
    """Count what a transaction deleted, and let the pace decide about the next."""
    job.ledger.add(table, rows, strategy)
    job.pace(Progress(table, job.ledger.rows[table], job.plan.rows[table]))


def rows_of(job: Purge) -> Rows:
    """Say how many rows a batch has: as many as were asked for while that takes little time."""
    most = job.batch_size if job.database.is_postgresql else min(job.batch_size, SQLITE_BATCH)
    return partial(job.pace.batches.of, most)


def _large(job: Purge, table: str) -> bool:
    """Tell whether so much goes that reading the whole heap in order takes less than its index."""
    if not job.database.is_postgresql:
        return False
    return job.plan.rows[table] > HEAP_SHARE * rows_about(job.database, table)
