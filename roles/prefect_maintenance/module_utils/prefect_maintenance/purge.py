"""Purge by SQL what the policy dates and what outlived its parent, in bounded transactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import queries, room
from .batches import (
    SQLITE_BATCH,
    doomed,
    heap_slices,
    indexed,
    positions,
    run_batch,
    time_slices,
)
from .catalogue import BY_NAME
from .connection import Database
from .errors import LockTimeout
from .inspect import Server
from .ledger import Ledger
from .pace import Pace, Progress
from .plan import AGED, Plan
from .queries import Rules
from .rewrite import Refused, Rewrite, clean_up, rewrite
from .settings import Cutoffs

# From this share on, reading the whole heap once in order is cheaper than walking the index.
HEAP_SHARE = 0.25
# Parents of orphans whose rows go in one transaction.
PARENTS_A_BATCH = 100


@dataclass(frozen=True)
class Purge:
    """One purge: where, by which rules, how and how much at a time; and what it met.

    Attributes:
        locked: seconds for which a rewrite kept everybody out of a table.
        warnings: what a person should know.
    """

    database: Database
    server: Server
    rules: Rules
    cutoffs: Cutoffs
    plan: Plan
    strategy: str
    batch_size: int
    lock_timeout: float
    pace: Pace
    ledger: Ledger
    locked: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def purge(job: Purge) -> None:
    """Purge table after table; one that fails does not keep the others from being done.

    Raises:
        Stopped: between two batches; the ledger says how far.
        ConnectionFailed: the database is gone.
    """
    for table in AGED:
        with job.ledger.working_on(table):
            _dated(job, table)
    for table in sorted(job.server.unforced):
        with job.ledger.working_on(table):
            _unforced(job, table)
    with job.ledger.working_on("artifact_collection"):
        # Collections whose artifact is gone point to the newest that is left, else they go.
        removed = settle_collections(job.database, job.cutoffs)
        job.ledger.add("artifact_collection", removed, "delete")


def _dated(job: Purge, table: str) -> None:
    """Purge a table by age, then its orphans."""
    if job.database.is_postgresql:
        clean_up(_rewrite(job, table))
    if not job.plan.rows[table]:
        return
    if table == "log":
        _logs(job)
    else:
        _aged(job, table)
    if table == "event_resources":
        _orphaned_resources(job)


def _aged(job: Purge, table: str) -> None:
    """Purge the rows of a table that are older than the cutoff."""
    if job.strategy == "rewrite" and _rewritten(job, table):
        return
    database, age = job.database, BY_NAME[table].age
    cutoff = getattr(job.cutoffs, str(BY_NAME[table].entity))
    total = job.plan.rows[table]
    sql = (
        f"DELETE FROM {table} AS x WHERE {{where}} "
        f"AND x.{age} < :cutoff AND {job.rules.aged(table)}"
    )

    if not indexed(database, table, age) or _large(database, table, total):
        for where in heap_slices(database, table, _batch_size(job)):
            _batch(job, table, "delete by heap range", sql.format(where=where), cutoff=cutoff)
        return
    sql = sql.format(where=f"x.{age} >= :first AND x.{age} < :last")
    for first, last in time_slices(database, table, age, cutoff, _batch_size(job)):
        bound = {"first": first, "last": last, "cutoff": cutoff}
        _batch(job, table, "delete by time range", sql, **bound)


def _rewrite(job: Purge, table: str) -> Rewrite:
    return Rewrite(
        database=job.database,
        table=table,
        keeps=job.rules.keeps(BY_NAME[table]),
        bound={"cutoff": getattr(job.cutoffs, str(BY_NAME[table].entity))},
        patience=job.lock_timeout,
    )


def _rewritten(job: Purge, table: str) -> bool:
    """Purge a table by an online rewrite; false when it has to be done by deletes."""
    if not job.database.is_postgresql:
        return False
    try:
        kept = max(0.0, 1 - job.plan.rows[table] / _estimated_rows(job.database, table))
        total = job.database.scalar("SELECT pg_total_relation_size(to_regclass(:t))", t=table)
        warnings = room.prove(job.database, table, int(kept * total))
        done = rewrite(_rewrite(job, table))
    except (Refused, LockTimeout, room.NoRoom) as error:
        job.warnings.append(f"{error}; {table} was purged by deletes")
        return False
    job.warnings.extend(warnings)
    job.locked[table] = done.locked
    job.ledger.add(table, done.rows, "rewrite")
    job.pace(Progress(table, done.rows, job.plan.rows[table]))
    return True


def _batch(job: Purge, table: str, strategy: str, sql: str, **bound: Any) -> None:
    job.ledger.add(table, run_batch(job.database, sql, **bound), strategy)
    job.pace(Progress(table, job.ledger.rows[table], job.plan.rows[table]))


def _logs(job: Purge) -> None:
    """Purge logs by age, then those whose run is gone.

    The hop over the distinct runs has to come before the purge by age: afterwards the index is
    full of dead entries.
    """
    with doomed(job.database, _gone_runs("flow_run_id")):
        _aged(job, "log")
        for first, last in positions(job.database, PARENTS_A_BATCH):
            bound = {"first": first, "last": last, "orphans": job.cutoffs.orphans}
            _batch(job, "log", "delete by run", queries.DELETE_GONE_LOGS["flow_run_id"], **bound)
    purge_logs_of_gone_tasks(job.database, job.cutoffs, job.pace, job.ledger)


def purge_logs_of_gone_tasks(
    database: Database, cutoffs: Cutoffs, pace: Pace, ledger: Ledger
) -> None:
    """Purge the logs of task runs that had no flow run and are gone."""
    sql = queries.DELETE_GONE_LOGS["task_run_id"]
    with doomed(database, _gone_runs("task_run_id")):
        for first, last in positions(database, PARENTS_A_BATCH):
            rows = run_batch(database, sql, first=first, last=last, orphans=cutoffs.orphans)
            ledger.add("log", rows, "delete by run")
            pace(Progress("log", ledger.rows["log"], None))


def _gone_runs(column: str) -> str:
    return queries.DOOMED_ROWS.format(
        ctes=f"WITH RECURSIVE {queries.gone_runs(column)}",
        table="gone_run",
        alias="x",
        order="id",
        goes="TRUE",
    )


def _orphaned_resources(job: Purge) -> None:
    orphaned = queries.orphaned(BY_NAME["event_resources"])
    lay_down = queries.DOOMED_ROWS.format(
        ctes="",
        table="event_resources",
        alias="x",
        order="occurred",
        goes=orphaned,
    )
    sql = queries.DELETE_DOOMED.format(table="event_resources", goes=orphaned)
    with doomed(job.database, lay_down):
        for first, last in positions(job.database, _batch_size(job)):
            _batch(job, "event_resources", "delete by id", sql, first=first, last=last)


def _unforced(job: Purge, table: str) -> None:
    """Delete children whose parent is gone and no foreign key took them along."""
    if not job.plan.rows[table]:
        return
    goes = queries.orphaned(BY_NAME[table])
    for where in heap_slices(job.database, table, _batch_size(job)):
        sql = f"DELETE FROM {table} AS x WHERE {where} AND {goes}"
        _batch(job, table, "delete by heap range", sql)


def settle_collections(database: Database, cutoffs: Cutoffs) -> int:
    """Re-point or remove stale artifact collections; returns how many were removed."""

    def once() -> int:
        with database.transaction():
            if database.is_postgresql:
                # Locked first, so that the statements that follow see what their holder wrote.
                database.rows(queries.LOCK_STALE_COLLECTIONS)
            database.run(queries.REPOINT_COLLECTIONS, now=cutoffs.reference)
            return database.run(queries.DELETE_COLLECTIONS)

    return database.patiently(once)


def _batch_size(job: Purge) -> int:
    if job.database.is_postgresql:
        return job.batch_size
    return min(job.batch_size, SQLITE_BATCH)


def _large(database: Database, table: str, rows: int) -> bool:
    if not database.is_postgresql:
        return False
    return rows > HEAP_SHARE * _estimated_rows(database, table)


def _estimated_rows(database: Database, table: str) -> float:
    return float(database.scalar(queries.ESTIMATED_ROWS, t=table))
