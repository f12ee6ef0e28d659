"""Delete orchestration objects through the API, and finish in SQL what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import queries
from .api import PrefectApi, in_parallel
from .batches import doomed, doomed_count, positions, run_batch
from .connection import Database
from .errors import ApiError
from .ledger import Ledger
from .pace import Pace, Progress
from .plan import Plan
from .purge import PARENTS_A_BATCH, purge_logs_of_gone_tasks, settle_collections
from .queries import Rules
from .settings import Cutoffs

# A server that fails this many batches in a row will not come round by being asked more.
FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class Delete:
    """One deletion: through which API, in which database, by which rules, how much at a time."""

    api: PrefectApi
    database: Database
    rules: Rules
    cutoffs: Cutoffs
    plan: Plan
    batch_size: int
    concurrency: int
    pace: Pace
    ledger: Ledger


def delete(job: Delete) -> None:
    """Delete artifacts, then flow runs with all that hangs on them, then other task runs.

    Artifacts come first because each deleted run leaves the server some work in the background
    that makes other deletions wait.

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
    database, cutoff = job.database, job.cutoffs.flow_runs
    lay_down = queries.DOOMED_RUNS.format(ctes=job.rules.doomed_runs_in_trees)
    still = queries.STILL_DOOMED_RUNS.format(goes=job.rules.run_goes)
    with doomed(database, lay_down, flow_runs=cutoff):
        database.run(queries.INDEX_DOOMED_TOP)
        failures = _Failures()
        try:
            for first, last in positions(database, job.batch_size):
                # Asked again right before the deletion: a run that was retried since the plan
                # keeps its whole tree.
                rows = database.rows(still, first=first, last=last, flow_runs=cutoff)
                for ended in (True, False):
                    ids = [run for run, has_end in rows if bool(has_end) is ended]
                    if ids:
                        _delete_runs(job, ids, ended=ended, failures=failures)
                done = job.ledger.rows["flow_run"]
                job.pace(Progress("flow_run", done, job.plan.rows["flow_run"]))
        finally:
            # Servers before 3.4.9 leave the logs, newer ones remove them in the background and
            # forget about it when they are restarted.
            for first, last in positions(database, PARENTS_A_BATCH):
                run_batch(database, queries.DELETE_LOGS_OF_DELETED, first=first, last=last)
    failures.raise_any()


def _delete_runs(job: Delete, ids: list[str], *, ended: bool, failures: _Failures) -> None:
    before = _hanging_on(job.database, ids)
    try:
        job.api.delete_runs(ids, job.rules.states, job.cutoffs.flow_runs, ended=ended)
    except ApiError as error:
        failures.another([str(error)])
    else:
        failures.none()
    left = queries.SURVIVORS.format(table="flow_run", ids=_listed(ids))
    survivors = [row[0] for row in job.database.rows(left)]
    after = _hanging_on(job.database, survivors) if survivors else (0,) * len(before)
    tables = (*queries.RUN_TABLES, "log")
    for table, had, has in zip(tables, before, after, strict=True):
        strategy = "api" if table == "flow_run" else "cascade"
        job.ledger.add(table, had - has, strategy)


def _task_runs(job: Delete) -> None:
    goes = job.rules.task_run_goes(after_runs=False)
    bound = {"task_runs": job.cutoffs.task_runs}
    lay_down = queries.DOOMED_ROWS.format(
        ctes="", table="task_run", alias="t", order="end_time", goes=goes
    )
    still = queries.STILL_DOOMED_ROWS.format(table="task_run", alias="t", goes=goes)
    with doomed(job.database, lay_down, **bound):
        _one_by_one(job, "task_run", still, bound, ("task_run_state", "log"))


def _artifacts(job: Delete) -> None:
    goes = f"x.created < :artifacts AND {job.rules.not_live('x')}"
    bound = {"artifacts": job.cutoffs.artifacts}
    lay_down = queries.DOOMED_ROWS.format(
        ctes="", table="artifact", alias="x", order="created", goes=goes
    )
    still = queries.STILL_DOOMED_ROWS.format(table="artifact", alias="x", goes=goes)
    with doomed(job.database, lay_down, **bound):
        keys = queries.KEYS_OF_DOOMED
        job.database.run(queries.DROP_KEYS)
        job.database.run(keys)
        collections = job.database.scalar(queries.COLLECTIONS_OF_KEYS)
        try:
            _one_by_one(job, "artifact", still, bound, ())
        finally:
            settle_collections(job.database, job.cutoffs)
            gone = collections - job.database.scalar(queries.COLLECTIONS_OF_KEYS)
            job.ledger.add("artifact_collection", gone, "api")
            job.database.run(queries.DROP_KEYS)


def _one_by_one(
    job: Delete, table: str, still: str, bound: Mapping[str, object], children: Sequence[str]
) -> None:
    """Delete the doomed rows of a table, one request each, some at a time.

    Args:
        job: the deletion.
        table: its rows go.
        still: says which of a batch may still go; binds :first, :last and `bound`.
        bound: cutoffs.
        children: tables whose rows name one of the table and go with it.
    """
    database, total = job.database, doomed_count(job.database)
    failures = _Failures()
    # SQLite has one writer: requests side by side only make each other fail and wait.
    workers = job.concurrency if database.is_postgresql else 1
    for first, last in positions(database, job.batch_size):
        ids = [row[0] for row in database.rows(still, first=first, last=last, **bound)]
        if not ids:
            continue
        before = [_children(database, child, table, ids) for child in children]
        errors = in_parallel(lambda row: job.api.delete(f"{table}s", row), ids, workers)
        if errors:
            failures.another(errors)
        else:
            failures.none()
        left = queries.SURVIVORS.format(table=table, ids=_listed(ids))
        survivors = {row[0] for row in database.rows(left)}
        gone = [row for row in ids if row not in survivors]
        if "log" in children and gone:
            run_batch(database, queries.DELETE_LOGS_OF_TASKS.format(ids=_listed(gone)))
        job.ledger.add(table, len(gone), "api")
        for child, had in zip(children, before, strict=True):
            job.ledger.add(child, had - _children(database, child, table, ids), "cascade")
        job.pace(Progress(table, job.ledger.rows[table], total))
    failures.raise_any()


def _children(database: Database, child: str, parent: str, ids: Sequence[str]) -> int:
    sql = queries.CHILDREN.format(table=child, column=f"{parent}_id", ids=_listed(ids))
    count: int = database.scalar(sql)
    return count


class _Failures:
    """Errors of the API: a few are reported at the end, several batches in a row end the work."""

    def __init__(self) -> None:
        self._row = 0
        self._count = 0
        self._first = ""

    def none(self) -> None:
        self._row = 0

    def another(self, errors: Sequence[str]) -> None:
        self._row += 1
        self._count += len(errors)
        self._first = self._first or errors[0]
        if self._row >= FAILURES_IN_A_ROW:
            raise ApiError(f"gave up after {self._row} failed batches in a row: {self._first}")

    def raise_any(self) -> None:
        if self._count:
            raise ApiError(f"{self._count} deletions failed, the first: {self._first}")


def _hanging_on(database: Database, ids: Sequence[str]) -> tuple[int, ...]:
    return tuple(database.rows(queries.CHILDREN_OF_RUNS.format(ids=_listed(ids)))[0])


def _listed(ids: Sequence[str]) -> str:
    """Write ids that came out of the database as an SQL list."""
    return "(" + ", ".join(f"'{row}'" for row in ids) + ")"
