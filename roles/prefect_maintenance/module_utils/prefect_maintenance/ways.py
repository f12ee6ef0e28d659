"""Two ways to delete the objects of one batch: through the API, or by SQL with the same guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from . import queries
from .batches import run_batch
from .connection import Database
from .errors import ApiError
from .queries import Rules

if TYPE_CHECKING:
    from .api import PrefectApi

# Runs, with all that hangs on them, and other rows that one transaction deletes by SQL.
_RUNS, _ROWS = 200, 1000

# Tables whose rows logs name.
LOGGING = ("flow_run", "task_run")


@dataclass(frozen=True)
class Deleted:
    """What one batch did.

    Attributes:
        gone: rows that left each table, those that foreign keys took along included.
        errors: what could not be deleted, and why.
    """

    gone: Mapping[str, int]
    errors: Sequence[str] = ()


class Way(Protocol):
    """How the objects of a batch are deleted."""

    @property
    def name(self) -> str:
        """As the report calls it."""

    @property
    def runs_a_batch(self) -> int:
        """Flow runs that are deleted at a time."""

    @property
    def rows_a_batch(self) -> int:
        """Other objects that are deleted at a time."""

    @property
    def leaves_logs(self) -> bool:
        """Whether logs of flow runs may outlive the deletion of their run."""

    def unit(self) -> AbstractContextManager[None]:
        """Return what holds a batch together."""

    def doomed_runs(self, rules: Rules, **bound: Any) -> list[tuple[str, bool]]:
        """Return the flow runs of a batch whose whole tree still goes: id, has an end time."""

    def runs(self, rows: Sequence[tuple[str, bool]]) -> Deleted:
        """Delete flow runs with all that hangs on them."""

    def doomed_rows(self, table: str, alias: str, goes: str, **bound: Any) -> list[str]:
        """Return the ids of a batch's rows that still go."""

    def rows(self, table: str, ids: Sequence[str]) -> Deleted:
        """Delete task runs with all that hangs on them, or artifacts."""


@dataclass(frozen=True)
class ByApi:
    """Deletion through the API: the server decides once more, and its caches and events follow.

    Attributes:
        states: of the policy; the guard of each deletion names them and the cutoff.
        cutoff: of flow runs.
        batch_size: objects a request, at most 50.
        concurrency: requests side by side where objects are deleted one by one.
    """

    api: PrefectApi
    database: Database
    states: tuple[str, ...]
    cutoff: datetime
    batch_size: int
    concurrency: int
    name: str = "api"
    # Servers before 3.4.9 leave them, newer ones remove them in the background and forget about
    # it when they are restarted.
    leaves_logs: bool = True

    @property
    def runs_a_batch(self) -> int:
        """As many as the user wants in a request."""
        return self.batch_size

    rows_a_batch = runs_a_batch

    def unit(self) -> AbstractContextManager[None]:
        """Nothing: the server commits each request by itself."""
        return nullcontext()

    def doomed_runs(self, rules: Rules, **bound: Any) -> list[tuple[str, bool]]:
        """Ask right before the deletion: a run that was retried keeps its whole tree."""
        sql = queries.STILL_DOOMED_RUNS.format(goes=rules.run_goes)
        return [(row[0], bool(row[1])) for row in self.database.rows(sql, **bound)]

    def runs(self, rows: Sequence[tuple[str, bool]]) -> Deleted:
        """Delete with a guard on state and age; runs without an end time apart from the others."""
        ids, errors = [run for run, _ in rows], []
        before = _leaving(self.database, "flow_run", ids)
        for ended in (True, False):
            asked = [run for run, has_end in rows if has_end is ended]
            try:
                if asked:
                    self.api.delete_runs(asked, self.states, self.cutoff, ended=ended)
            except ApiError as error:
                errors.append(str(error))
        return self._gone("flow_run", self._survivors("flow_run", ids), before, errors)

    def doomed_rows(self, table: str, alias: str, goes: str, **bound: Any) -> list[str]:
        """Ask right before the deletion."""
        sql = queries.STILL_DOOMED_ROWS.format(table=table, alias=alias, goes=goes, lock="")
        return [row[0] for row in self.database.rows(sql, **bound)]

    def rows(self, table: str, ids: Sequence[str]) -> Deleted:
        """Delete one request each, some at a time."""
        from .api import in_parallel

        before = _leaving(self.database, table, ids)
        # SQLite has one writer: requests side by side only make each other fail and wait.
        workers = self.concurrency if self.database.is_postgresql else 1
        errors = in_parallel(lambda row: self.api.delete(f"{table}s", row), ids, workers)
        left = self._survivors(table, ids)
        gone = sorted(set(ids) - set(left))
        if table == "task_run" and gone:
            # No server removes the logs of a task run that is deleted by itself.
            sql = queries.DELETE_BY_ID.format(
                table="log", column="task_run_id", ids=queries.listed(gone)
            )
            run_batch(self.database, sql)
        return self._gone(table, left, before, errors)

    def _gone(
        self, table: str, left: Sequence[str], before: Mapping[str, int], errors: Sequence[str]
    ) -> Deleted:
        after = _leaving(self.database, table, left) if left else {}
        return Deleted({t: rows - after.get(t, 0) for t, rows in before.items()}, errors)

    def _survivors(self, table: str, ids: Sequence[str]) -> list[str]:
        sql = queries.SURVIVORS.format(table=table, ids=queries.listed(ids))
        return [row[0] for row in self.database.rows(sql)]


@dataclass(frozen=True)
class BySql:
    """Deletion by SQL: each batch is one transaction, and what others hold is left alone."""

    database: Database
    name: str = "sql"
    leaves_logs: bool = False
    runs_a_batch: int = _RUNS
    rows_a_batch: int = _ROWS

    def unit(self) -> AbstractContextManager[None]:
        """One transaction: locked, looked at again and deleted, or nothing of it."""
        return self.database.transaction()

    def doomed_runs(self, rules: Rules, **bound: Any) -> list[tuple[str, bool]]:
        """Lock the trees of a batch; one of which a run is held or changed stays whole."""
        sql = queries.LOCKED_DOOMED_RUNS.format(goes=rules.run_goes, lock=self._lock("r"))
        return [(row[0], bool(row[1])) for row in self.database.rows(sql, **bound)]

    def runs(self, rows: Sequence[tuple[str, bool]]) -> Deleted:
        """Delete runs that are locked; foreign keys take their children along."""
        return self._with_logs("flow_run", [run for run, _ in rows])

    def doomed_rows(self, table: str, alias: str, goes: str, **bound: Any) -> list[str]:
        """Lock what still goes."""
        sql = queries.STILL_DOOMED_ROWS.format(
            table=table, alias=alias, goes=goes, lock=self._lock(alias)
        )
        return [row[0] for row in self.database.rows(sql, **bound)]

    def rows(self, table: str, ids: Sequence[str]) -> Deleted:
        """Delete rows that are locked."""
        return self._with_logs(table, ids)

    def _with_logs(self, table: str, ids: Sequence[str]) -> Deleted:
        """Delete objects, then their logs, which no foreign key takes along.

        Counting the logs would cost as much as deleting them; the deletion itself tells.
        """
        gone = _leaving(self.database, table, ids, but=("log",))
        ours = queries.listed(ids)
        self.database.run(queries.DELETE_BY_ID.format(table=table, column="id", ids=ours))
        if table in LOGGING:
            sql = queries.DELETE_BY_ID.format(table="log", column=f"{table}_id", ids=ours)
            gone["log"] = self.database.run(sql)
        return Deleted(gone)

    def _lock(self, alias: str) -> str:
        return f"FOR UPDATE OF {alias} SKIP LOCKED" if self.database.is_postgresql else ""


def _leaving(
    database: Database, table: str, ids: Sequence[str], but: Sequence[str] = ()
) -> dict[str, int]:
    """Count by table what leaves the database with objects of a table."""
    row = database.rows(queries.count_leaving(table, ids, but=but))[0]
    return dict(row._asdict())
