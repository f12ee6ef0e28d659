"""Purge by SQL what the policy dates and what outlived its parent, in bounded transactions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .. import events
from ..catalogue import ARTIFACT_COLLECTION, BY_NAME, EVENTS, LOG
from ..database.connection import Database
from ..database.set_for import BY_INDEX, set_for
from ..errors import DiskFull, HeldTooLong, LockTimeout
from ..events import FellBack, Progress
from ..measure.disk_space import NoRoom, shortage, unknown
from ..pace.pace import Pace
from ..plan import log_rules
from ..plan.event_rules import hand_over
from ..plan.gone_runs import gone_runs
from ..plan.hanging import cascading
from ..plan.purge import AGED
from ..plan.rules import orphaned_rows
from ..request.policy import Cutoffs
from .aged import batch, delete_aged, note, rows_of
from .archive_rows import delete_parents
from .artifact_collections import settle_collections
from .batches import (
    Rows,
    heap_slices,
    in_parts,
)
from .ledger import Ledger
from .purge_job import Purge
from .rewrite import LostAfterSwap, Rewritten, rewrite
from .rewrite_job import LIVE, REVIVED, Refused, Rewrite
from .worklist import (
    DELETE_LISTED,
    WORKLIST_OF_ROWS,
    logs_of_gone,
    positions,
    ranges,
    worklist,
)

# Parents of orphans whose rows go in one transaction.
PARENTS_A_BATCH = 100


def purge(job: Purge) -> None:
    """Purge table after table; one that fails does not keep the others from being done.

    Raises:
        Stopped: between two batches; the ledger says how far.
        ConnectionFailed: the database is gone.
    """
    for table in dict.fromkeys((*job.plan.decisions, *AGED)):
        with job.ledger.working_on(table):
            _dated(job, table)
    for table in sorted(job.server.unforced):
        with job.ledger.working_on(table):
            _unforced(job, table)
    with job.ledger.working_on(ARTIFACT_COLLECTION.name):
        # Collections whose artifact is gone point to the newest that is left, else they go.
        removed = settle_collections(job.database, job.cutoffs)
        job.ledger.add(ARTIFACT_COLLECTION.name, removed, "delete")


def _dated(job: Purge, table: str) -> None:
    """Purge a table by age, then its orphans."""
    if not job.plan.rows[table]:
        return
    if BY_NAME[table].of_run:
        _logs(job)
        return
    if not _rewritten(job, table):
        _aged(job, table)
    if job.plan.orphaned.get(table):
        _orphans(job, table)


def _aged(job: Purge, table: str) -> None:
    """Purge the rows of a table that go by their age."""
    delete_aged(job, table)
    job.ledger.aged[table] = job.ledger.rows[table]


def _rewrite(job: Purge, table: str) -> Rewrite:
    kind = BY_NAME[table]
    keeps = job.rules.keeps(kind)
    return Rewrite(
        database=job.database,
        table=table,
        keeps=keeps,
        within=job.rules.dated_by(kind).within("x"),
        live=job.rules.now.is_live("f") if kind.of_run else "",
        missed=job.rules.of_runs(kind, LIVE),
        woken=job.rules.woken if kind.of_run else "",
        revived=job.rules.of_runs(kind, REVIVED),
        expected=job.plan.rows[table],
        count=True,
        stays=job.plan.about.get(table),
        bound=job.rules.values(kind, job.cutoffs),
        age=str(kind.age),
        lock_timeout=job.lock_timeout,
        max_lock=job.max_lock,
        pace=job.pace,
        holds=job.rules.holds,
        prepare=partial(_prepare, job, table),
    )


def _prepare(job: Purge, table: str, copier: Database) -> None:
    """Lay down in the session that copies what conditions look up: ranks as the plan found them."""
    if table == EVENTS.name:
        hand_over(job.database, job.rules.dated_by(EVENTS), copier)
    if table == LOG.name:
        log_rules.stage(copier, job.rules.runs)


def _rewritten(job: Purge, table: str) -> bool:
    """Purge a table by an online rewrite; false when it has to be done by deletes."""
    decided = job.plan.decisions.get(table)
    if decided is None or decided.strategy != "rewrite":
        return False
    try:
        _require_room(job, table)
        done = rewrite(_rewrite(job, table))
    except (Refused, LockTimeout, HeldTooLong, NoRoom, DiskFull) as error:
        job.ledger.events(FellBack(table, "but it could not be rewritten"))
        job.ledger.warn(f"{error}; {table} was purged by deletes")
        return False
    except LostAfterSwap as error:
        _note_rewrite(job, table, error.done)
        raise
    _note_rewrite(job, table, done)
    if told := unknown(job.disks):
        job.ledger.warn(told)
    job.pace(Progress(table, done.rows, job.plan.rows[table]))
    return True


def _require_room(job: Purge, table: str) -> None:
    """Look again at what is free before a copy begins.

    Raises:
        NoRoom: it does not fit any more.
    """
    kept = job.plan.decisions[table].costs["rewrite"].extra_bytes
    if lacking := shortage(job.disks, kept, table):
        raise NoRoom(f"{table} cannot be rewritten: {lacking}")


def _note_rewrite(job: Purge, table: str, done: Rewritten) -> None:
    for warning in done.warnings:
        job.ledger.warn(warning)
    job.ledger.events(events.Rewritten(table, done.locked, done.copied))
    job.ledger.add(table, done.rows, "rewrite")
    job.ledger.aged[table] = done.rows


def _logs(job: Purge) -> None:
    """Purge logs by age, then those whose run is gone.

    Deletes leave the index full of dead entries, so the gone runs have to be found before them; a
    rewrite leaves it small, so there that comes after.
    """
    rewritten = _rewritten(job, LOG.name)
    if not job.plan.orphaned[LOG.name]:
        if not rewritten:
            _aged(job, LOG.name)
        return
    with worklist(job.database, _gone_runs(job.database, "flow_run_id")):
        if not rewritten:
            _aged(job, LOG.name)
        with set_for(job.database, BY_INDEX):
            for rows in _listed_gone(job.database, "flow_run_id", job.cutoffs, rows_of(job)):
                note(job, LOG.name, "delete by run", rows)
    purge_logs_of_gone_tasks(job.database, job.cutoffs, job.pace, job.ledger, rows_of(job))


def purge_logs_of_gone_tasks(
    database: Database, cutoffs: Cutoffs, pace: Pace, ledger: Ledger, most: Rows
) -> None:
    """Purge the logs of task runs that had no flow run and are gone."""
    lay_down = _gone_runs(database, "task_run_id")
    with worklist(database, lay_down), set_for(database, BY_INDEX):
        for rows in _listed_gone(database, "task_run_id", cutoffs, most):
            ledger.add(LOG.name, rows, "delete by run")
            pace(Progress(LOG.name, ledger.rows[LOG.name], None))


def _listed_gone(database: Database, column: str, cutoffs: Cutoffs, most: Rows) -> Iterator[int]:
    """Delete the logs of the listed runs, which they name in a column; yields each part's rows."""
    goes = logs_of_gone(database, column)
    for first, last in positions(database, PARENTS_A_BATCH):
        bound = {"first": first, "last": last, "orphans": cutoffs.orphans}
        yield from in_parts(database, LOG.name, goes, most, **bound)


def _gone_runs(database: Database, column: str) -> str:
    return WORKLIST_OF_ROWS.format(
        ctes=f"WITH RECURSIVE {gone_runs(database, column)}",
        table="gone_run",
        alias="x",
        order="id",
        goes="TRUE",
    )


def _orphans(job: Purge, table: str) -> None:
    """Purge the rows of a table whose parent is gone."""
    orphaned, age = orphaned_rows(BY_NAME[table]), BY_NAME[table].age
    lay_down = WORKLIST_OF_ROWS.format(ctes="", table=table, alias="x", order=age, goes=orphaned)
    sql = DELETE_LISTED.format(table=table, goes=orphaned)
    with worklist(job.database, lay_down):
        for first, last in ranges(job.database, rows_of(job)):
            batch(job, table, "delete by id", sql, first=first, last=last)


def _unforced(job: Purge, table: str) -> None:
    """Delete children whose parent is gone and no foreign key took them along."""
    if not job.plan.rows[table]:
        return
    goes = orphaned_rows(BY_NAME[table])
    for where in heap_slices(job.database, table, rows_of(job)):
        if job.database.keeper and any(cascading(BY_NAME[table])):
            rows = delete_parents(job.database, BY_NAME[table], f"{where} AND {goes}")
            note(job, table, "delete by heap range", rows)
            continue
        sql = f"DELETE FROM {table} AS x WHERE {where} AND {goes}"
        batch(job, table, "delete by heap range", sql)
