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
from .ways import Way

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


@dataclass(frozen=True)
class _Batch:
    """What one batch did: rows that left each table, and errors."""

    gone: Mapping[str, int]
    errors: Sequence[str]


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

        def once(first: int, last: int) -> _Batch:
            with job.way.unit():
                rows = job.way.doomed_runs(job.rules, first=first, last=last, **bound)
                return _delete_runs(job, rows) if rows else _Batch({}, ())

        try:
            _batches(job, "flow_run", job.way.runs_a_batch, once)
        finally:
            # Servers before 3.4.9 leave the logs, newer ones remove them in the background and
            # forget about it when they are restarted.
            for first, last in positions(database, PARENTS_A_BATCH):
                run_batch(database, queries.DELETE_LOGS_OF_DELETED, first=first, last=last)


def _delete_runs(job: Delete, rows: Sequence[tuple[str, bool]]) -> _Batch:
    ids = [run for run, _ in rows]
    before = _hanging_on(job.database, ids)
    errors = job.way.runs(rows)
    survivors = _survivors(job.database, "flow_run", ids)
    after = _hanging_on(job.database, survivors) if survivors else (0,) * len(before)
    tables = (*queries.RUN_TABLES, "log")
    gone = {t: had - has for t, had, has in zip(tables, before, after, strict=True)}
    return _Batch(gone, errors)


def _task_runs(job: Delete) -> None:
    goes = job.rules.task_run_goes(after_runs=False)
    bound = {"task_runs": job.cutoffs.task_runs}
    lay_down = queries.DOOMED_ROWS.format(
        ctes="", table="task_run", alias="t", order="end_time", goes=goes
    )
    with doomed(job.database, lay_down, **bound):
        _rows(job, "task_run", "t", goes, bound, ("task_run_state", "log"))


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
            _rows(job, "artifact", "x", goes, bound, ())
        finally:
            settle_collections(job.database, job.cutoffs)
            gone = collections - job.database.scalar(queries.COLLECTIONS_OF_KEYS)
            job.ledger.add("artifact_collection", gone, job.way.name)
            job.database.run(queries.DROP_KEYS)


def _rows(
    job: Delete,
    table: str,
    alias: str,
    goes: str,
    bound: Mapping[str, object],
    children: Sequence[str],
) -> None:
    """Delete the doomed rows of a table.

    Args:
        job: the deletion.
        table: its rows go.
        alias: its name in `goes`.
        goes: says whether a row of a batch still may go; binds `bound`.
        bound: cutoffs.
        children: tables whose rows name one of the table and go with it.
    """
    database = job.database

    def once(first: int, last: int) -> _Batch:
        with job.way.unit():
            ids = job.way.doomed_rows(table, alias, goes, first=first, last=last, **bound)
            if not ids:
                return _Batch({}, ())
            before = [_children(database, child, table, ids) for child in children]
            errors = job.way.rows(table, ids)
            survivors = set(_survivors(database, table, ids))
            gone = [row for row in ids if row not in survivors]
            if "log" in children and gone:
                job.way.logs_of_tasks(gone)
            after = [_children(database, child, table, ids) for child in children]
            left = {c: had - has for c, had, has in zip(children, before, after, strict=True)}
            return _Batch({table: len(gone), **left}, errors)

    _batches(job, table, job.way.rows_a_batch, once)


def _batches(job: Delete, table: str, step: int, once: Callable[[int, int], _Batch]) -> None:
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


def _survivors(database: Database, table: str, ids: Sequence[str]) -> list[str]:
    sql = queries.SURVIVORS.format(table=table, ids=queries.listed(ids))
    return [row[0] for row in database.rows(sql)]


def _children(database: Database, child: str, parent: str, ids: Sequence[str]) -> int:
    sql = queries.CHILDREN.format(table=child, column=f"{parent}_id", ids=queries.listed(ids))
    count: int = database.scalar(sql)
    return count


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


def _hanging_on(database: Database, ids: Sequence[str]) -> tuple[int, ...]:
    return tuple(database.rows(queries.CHILDREN_OF_RUNS.format(ids=queries.listed(ids)))[0])
