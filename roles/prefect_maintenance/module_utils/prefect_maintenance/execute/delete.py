"""Delete orchestration objects, each under its guard, and what hangs on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ..catalogue import ARTIFACT, ARTIFACT_COLLECTION, FLOW_RUN, LOG, TASK_RUN
from ..database.connection import Database
from ..errors import ApiError
from ..events import FellBack, Progress
from ..pace.pace import Pace
from ..plan import candidates
from ..plan.plan import Plan
from ..plan.rules import Rules
from ..request.policy import Cutoffs
from .artifact_collections import (
    COLLECTIONS_OF_KEYS,
    DROP_KEYS,
    KEYS_OF_WORKLIST,
    settle_collections,
)
from .ledger import Ledger
from .purge import purge_logs_of_gone_tasks
from .row_guards import cut, pieces, trees
from .ways import LOGGING, ByApi, BySql, Deleted
from .worklist import (
    INDEX_WORKLIST_TOP,
    WORKLIST_LEFT,
    WORKLIST_OF_ROWS,
    WORKLIST_OF_RUNS,
    positions,
    worklist,
    worklist_length,
)

# A server that fails this many batches in a row will not come round by being asked more.
FAILURES_IN_A_ROW = 3

# Why not everything goes through the API although that was asked for.
_NO_GUARD = "the API has no guard for these: it would delete one that is in use"
_SINGLE_RUNS = (
    "the API guards runs with an end time and without task runs or subflows; the others went by SQL"
)
_OLD_SERVER = "the API has no guard for these before Prefect 3.6.16"


@dataclass(frozen=True)
class Delete:
    """One deletion: in which ways, in which database, by which rules.

    Attributes:
        by_sql: deletes whatever it is given.
        by_api: deletes flow runs that the API can guard; None when all is deleted by SQL.
    """

    by_sql: BySql
    by_api: ByApi | None
    database: Database
    rules: Rules
    cutoffs: Cutoffs
    plan: Plan
    pace: Pace
    ledger: Ledger


def delete(job: Delete) -> None:
    """Delete artifacts, then flow runs with all that hangs on them, then other task runs.

    Artifacts come first because each run deleted through the API leaves the server some work in
    the background that makes other deletions wait.

    Raises:
        Stopped: between two batches; the ledger says how far.
        ConnectionFailed: the server or the database is gone.
    """
    with job.ledger.working_on(ARTIFACT.name):
        if job.plan.rows[ARTIFACT.name]:
            _artifacts(job)
    with job.ledger.working_on(FLOW_RUN.name):
        if job.plan.rows[FLOW_RUN.name]:
            _flow_runs(job)
    with job.ledger.working_on(TASK_RUN.name):
        if job.plan.rows[TASK_RUN.name]:
            _task_runs(job)
    with job.ledger.working_on(LOG.name):
        rows = partial(_most, job)
        purge_logs_of_gone_tasks(job.database, job.cutoffs, job.pace, job.ledger, rows)


def _flow_runs(job: Delete) -> None:
    database, bound = job.database, {"flow_runs": job.cutoffs.flow_runs}
    candidates.find_trees(database)
    with worklist(database, WORKLIST_OF_RUNS):
        database.run(INDEX_WORKLIST_TOP)
        total, failures = worklist_length(database), _Failures()
        ways: set[str] = set()
        step = job.by_api.batch_size if job.by_api else job.by_sql.runs_a_batch
        for first, last in positions(database, step):
            for way, done in _trees(job, first, last, bound):
                if any(done.gone.values()):
                    ways.add(way)
                _note(job, FLOW_RUN.name, way, done, total)
                failures.note(done.errors)
        _tell(job, FLOW_RUN.name)
        if job.by_api and "sql" in ways:
            why = _SINGLE_RUNS if job.by_api.guarded else _OLD_SERVER
            job.ledger.events(FellBack(FLOW_RUN.name, why))
        failures.raise_any()


def _trees(
    job: Delete, first: int, last: int, bound: Mapping[str, object]
) -> Iterator[tuple[str, Deleted]]:
    """Delete the trees that begin between two positions, each in the way that can guard it."""
    found, api = trees(job.database, first, last), job.by_api
    by_sql = [tree for tree in found if not (tree.single and api and api.guarded)]
    if api is not None:
        single = [tree for tree in found if tree not in by_sql]
        for piece in cut([(tree, tree.leaves) for tree in single], job.by_sql.most):
            done = api.runs([tree.top for tree in piece], bound)
            if done is None:
                by_sql += piece
            else:
                yield api.name, done
    # What the API deletes says nothing of how long a transaction takes.
    most = _most(job) if by_sql else 0
    for piece in cut([(tree, tree.leaves) for tree in by_sql], most):
        yield job.by_sql.name, job.by_sql.runs([tree.top for tree in piece], bound)


def _task_runs(job: Delete) -> None:
    goes = job.rules.task_run_goes(after_runs=False)
    bound = {"task_runs": job.cutoffs.task_runs}
    lay_down = WORKLIST_OF_ROWS.format(
        ctes="", table=TASK_RUN.name, alias="t", order="end_time", goes=goes
    )
    with worklist(job.database, lay_down, **bound):
        _rows(job, TASK_RUN.name, "t", goes, bound)


def _artifacts(job: Delete) -> None:
    goes = f"x.created < :artifacts AND {job.rules.not_live('x')}"
    bound = {"artifacts": job.cutoffs.artifacts}
    lay_down = WORKLIST_OF_ROWS.format(
        ctes="", table=ARTIFACT.name, alias="x", order="created", goes=goes
    )
    with worklist(job.database, lay_down, **bound):
        job.database.run(DROP_KEYS)
        job.database.run(KEYS_OF_WORKLIST)
        collections = job.database.scalar(COLLECTIONS_OF_KEYS)
        try:
            _rows(job, ARTIFACT.name, "x", goes, bound)
        finally:
            settle_collections(job.database, job.cutoffs)
            gone = collections - job.database.scalar(COLLECTIONS_OF_KEYS)
            job.ledger.add(ARTIFACT_COLLECTION.name, gone, job.by_sql.name)
            job.database.run(DROP_KEYS)


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
        for first, last in pieces(database, table, start, end, _most(job)):
            done = job.by_sql.rows(table, alias, goes, {**bound, "first": first, "last": last})
            _note(job, table, job.by_sql.name, done, total)
    if job.by_api:
        job.ledger.events(FellBack(table, _NO_GUARD))
    _tell(job, table)


def _most(job: Delete) -> int:
    """Return the rows of one transaction: fewer while they take long."""
    return job.pace.batches.of(job.by_sql.most)


def _note(job: Delete, table: str, way: str, done: Deleted, total: int) -> None:
    """Count what a batch did, finish it, and let the pace decide about the next."""
    for left, rows in done.gone.items():
        job.ledger.add(left, rows, way if left == table else "cascade")
    if table in LOGGING and done.ids:
        for rows in job.by_sql.logs(table, done.ids):
            job.ledger.add(LOG.name, 0 if done.logs_counted else rows, "cascade")
    job.pace(Progress(table, job.ledger.rows[table], total))


def _tell(job: Delete, table: str) -> None:
    """Say how many rows of a table stay that the list of this run had."""
    left = job.database.scalar(WORKLIST_LEFT.format(table=table))
    if left:
        job.ledger.warn(
            f"{table}: {left} rows stay that were to go: they, or a run that they belong to, were "
            "in use or changed meanwhile; the next run looks at them again"
        )


class _Failures:
    """Errors of the API: a few are reported at the end, several batches in a row end the work."""

    def __init__(self) -> None:
        self._row = 0
        self._count = 0
        self._first = ""

    def note(self, errors: Sequence[str]) -> None:
        if not errors:
            self._row = 0
            return
        self._row += 1
        self._count += len(errors)
        self._first = self._first or errors[0]
        if self._row >= FAILURES_IN_A_ROW:
            raise ApiError(f"gave up after {self._row} failed batches in a row: {self._first}")

    def raise_any(self) -> None:
        if self._count:
            raise ApiError(f"{self._count} deletions failed, the first: {self._first}")
