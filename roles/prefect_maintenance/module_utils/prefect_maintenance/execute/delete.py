"""Delete orchestration objects, each under its guard, and what hangs on them."""

from __future__ import annotations

from collections.abc import Mapping

from ..catalogue import ARTIFACT, ARTIFACT_COLLECTION, FLOW_RUN, LOG, TASK_RUN
from ..database.set_for import NOT_ON_DISK, set_for
from ..plan.rules import Rules
from .artifact_collections import (
    COLLECTIONS_OF_KEYS,
    DROP_KEYS,
    KEYS_OF_WORKLIST,
    settle_collections,
)
from .deletion import Delete
from .flow_runs import delete_flow_runs
from .purge import purge_logs_of_gone_tasks
from .row_guards import pieces
from .worklist import WORKLIST_OF_ROWS, positions, worklist, worklist_length


def delete(job: Delete) -> None:
    """Delete artifacts, then flow runs with all that hangs on them, then other task runs.

    Artifacts come first because each run deleted through the API leaves the server some work in
    the background that makes other deletions wait.

    Raises:
        Stopped: between two batches; the ledger says how far.
        ConnectionFailed: the server or the database is gone.
    """
    with set_for(job.database, NOT_ON_DISK):
        _delete(job)


def _delete(job: Delete) -> None:
    with job.ledger.working_on(ARTIFACT.name):
        if job.plan.rows[ARTIFACT.name]:
            _artifacts(job)
    with job.ledger.working_on(FLOW_RUN.name):
        if job.plan.rows[FLOW_RUN.name]:
            delete_flow_runs(job)
    with job.ledger.working_on(TASK_RUN.name):
        if job.plan.rows[TASK_RUN.name]:
            _task_runs(job)
    with job.ledger.working_on(LOG.name):
        purge_logs_of_gone_tasks(job.database, job.cutoffs, job.pace, job.ledger, lambda: job.most)


def _task_runs(job: Delete) -> None:
    bound = {"task_runs": job.cutoffs.task_runs, **job.rules.bound}
    goes = job.rules.task_run_goes(after_runs=False)
    lay_down = WORKLIST_OF_ROWS.format(
        ctes="", table=TASK_RUN.name, alias="t", order="end_time", goes=goes
    )
    with worklist(job.database, lay_down, **bound):
        goes = job.rules.now.task_run_goes(after_runs=False)
        _rows(job, TASK_RUN.name, "t", goes, bound)


def _artifacts(job: Delete) -> None:
    goes = _artifact_goes(job.rules)
    bound = {"artifacts": job.cutoffs.artifacts, **job.rules.bound}
    lay_down = WORKLIST_OF_ROWS.format(
        ctes="", table=ARTIFACT.name, alias="x", order="created", goes=goes
    )
    with worklist(job.database, lay_down, **bound):
        job.database.run(DROP_KEYS)
        job.database.run(KEYS_OF_WORKLIST)
        collections = job.database.scalar(COLLECTIONS_OF_KEYS)
        try:
            _rows(job, ARTIFACT.name, "x", _artifact_goes(job.rules.now), bound)
        finally:
            settle_collections(job.database, job.cutoffs)
            gone = collections - job.database.scalar(COLLECTIONS_OF_KEYS)
            job.ledger.add(ARTIFACT_COLLECTION.name, gone, job.by_sql.name)
            job.database.run(DROP_KEYS)


def _artifact_goes(rules: Rules) -> str:
    """Artifact `x` goes. Binds :artifacts."""
    return f"x.created < :artifacts AND {rules.not_live('x')}"


def _rows(job: Delete, table: str, alias: str, goes: str, bound: Mapping[str, object]) -> None:
    """Delete the listed rows of a table.

    Args:
        job: the deletion.
        table: its rows go.
        alias: its name in `goes`.
        goes: says whether a row of a batch still may go; binds `bound`.
        bound: cutoffs.
    """
    database, total = job.database, worklist_length(job.database)
    for start, end in positions(database, job.by_sql.rows_a_batch):
        for first, last in pieces(database, table, start, end, job.most):
            done = job.by_sql.rows(table, alias, goes, {**bound, "first": first, "last": last})
            job.note(table, job.by_sql.name, done, total)
    job.tell_left(table)
