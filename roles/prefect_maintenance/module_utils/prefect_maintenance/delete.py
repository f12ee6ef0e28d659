"""Delete orchestration objects, and finish in SQL what the API leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from . import queries
from .batches import doomed, doomed_count, positions, run_batch
from .connection import Database
from .errors import ApiError
from .ledger import Ledger
from .pace import Pace, Progress
from .plan import Plan
from .purge import PARENTS_A_BATCH, purge_logs_of_gone_tasks, settle_collections
from .queries import Rules
from .settings import Cutoffs
from .ways import Deleted, Way

# A server that fails this many batches in a row will not come round by being asked more.
FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class Delete:
    """One deletion: in which way, in which database, by which rules."""

    way: Way
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
    with job.ledger.working_on("artifact"):
        if job.plan.rows["artifact"]:
            _artifacts(job)
    with job.ledger.working_on("flow_run"):
        if job.plan.rows["flow_run"]:
            _flow_runs(job)
    with job.ledger.working_on("task_run"):
        if job.plan.rows["task_run"]:
            _task_runs(job)
    with job.ledger.working_on("log"):
        purge_logs_of_gone_tasks(job.database, job.cutoffs, job.pace, job.ledger)


def _flow_runs(job: Delete) -> None:
    database, bound = job.database, {"flow_runs": job.cutoffs.flow_runs}
    lay_down = queries.DOOMED_RUNS.format(ctes=job.rules.doomed_runs_in_trees)
    with doomed(database, lay_down, **bound):
        database.run(queries.INDEX_DOOMED_TOP)

        def once(first: int, last: int) -> Deleted:
            with job.way.unit():
                rows = job.way.doomed_runs(job.rules, first=first, last=last, **bound)
                return job.way.runs(rows) if rows else Deleted({})

        try:
            _batches(job, "flow_run", job.way.runs_a_batch, once)
        finally:
            if job.way.leaves_logs:
                for first, last in positions(database, PARENTS_A_BATCH):
                    run_batch(database, queries.DELETE_LOGS_OF_DELETED, first=first, last=last)


def _task_runs(job: Delete) -> None:
    goes = job.rules.task_run_goes(after_runs=False)
    bound = {"task_runs": job.cutoffs.task_runs}
    lay_down = queries.DOOMED_ROWS.format(
        ctes="", table="task_run", alias="t", order="end_time", goes=goes
    )
    with doomed(job.database, lay_down, **bound):
        _rows(job, "task_run", "t", goes, bound)


def _artifacts(job: Delete) -> None:
    goes = f"x.created < :artifacts AND {job.rules.not_live('x')}"
    bound = {"artifacts": job.cutoffs.artifacts}
    lay_down = queries.DOOMED_ROWS.format(
        ctes="", table="artifact", alias="x", order="created", goes=goes
    )
    with doomed(job.database, lay_down, **bound):
        job.database.run(queries.DROP_KEYS)
        job.database.run(queries.KEYS_OF_DOOMED)
        collections = job.database.scalar(queries.COLLECTIONS_OF_KEYS)
        try:
            _rows(job, "artifact", "x", goes, bound)
        finally:
            settle_collections(job.database, job.cutoffs)
            gone = collections - job.database.scalar(queries.COLLECTIONS_OF_KEYS)
            job.ledger.add("artifact_collection", gone, job.way.name)
            job.database.run(queries.DROP_KEYS)


def _rows(job: Delete, table: str, alias: str, goes: str, bound: Mapping[str, object]) -> None:
    """Delete the doomed rows of a table.

    Args:
        job: the deletion.
        table: its rows go.
        alias: its name in `goes`.
        goes: says whether a row of a batch still may go; binds `bound`.
        bound: cutoffs.
    """

    def once(first: int, last: int) -> Deleted:
        with job.way.unit():
            ids = job.way.doomed_rows(table, alias, goes, first=first, last=last, **bound)
            return job.way.rows(table, ids) if ids else Deleted({})

    _batches(job, table, job.way.rows_a_batch, once)


def _batches(job: Delete, table: str, step: int, once: Callable[[int, int], Deleted]) -> None:
    """Carry out the batches of a table, and give up when too many fail in a row.

    Raises:
        ApiError: deletions failed.
        Stopped: between two batches.
    """
    total, failures = doomed_count(job.database), _Failures()
    for first, last in positions(job.database, step):
        done = job.database.patiently(partial(once, first, last))
        for left, rows in done.gone.items():
            job.ledger.add(left, rows, job.way.name if left == table else "cascade")
        failures.note(done.errors)
        job.pace(Progress(table, job.ledger.rows[table], total))
    failures.raise_any()


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
