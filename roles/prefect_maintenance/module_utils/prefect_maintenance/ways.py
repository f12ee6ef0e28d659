"""Two ways to delete the objects of one batch: through the API, or by SQL with the same guards."""

from __future__ import annotations

from collections.abc import Sequence
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

    def unit(self) -> AbstractContextManager[None]:
        """Return what holds a batch together."""

    def doomed_runs(self, rules: Rules, **bound: Any) -> list[tuple[str, bool]]:
        """Return the flow runs of a batch whose whole tree still goes: id, has an end time."""

    def runs(self, rows: Sequence[tuple[str, bool]]) -> list[str]:
        """Delete flow runs and their logs; returns errors."""

    def doomed_rows(self, table: str, alias: str, goes: str, **bound: Any) -> list[str]:
        """Return the ids of a batch's rows that still go."""

    def rows(self, table: str, ids: Sequence[str]) -> list[str]:
        """Delete task runs or artifacts; returns errors."""

    def logs_of_tasks(self, ids: Sequence[str]) -> None:
        """Delete the logs of task runs that are gone."""


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

    def runs(self, rows: Sequence[tuple[str, bool]]) -> list[str]:
        """Delete with a guard on state and age; runs without an end time apart from the others."""
        errors = []
        for ended in (True, False):
            ids = [run for run, has_end in rows if has_end is ended]
            try:
                if ids:
                    self.api.delete_runs(ids, self.states, self.cutoff, ended=ended)
            except ApiError as error:
                errors.append(str(error))
        return errors

    def doomed_rows(self, table: str, alias: str, goes: str, **bound: Any) -> list[str]:
        """Ask right before the deletion."""
        sql = queries.STILL_DOOMED_ROWS.format(table=table, alias=alias, goes=goes, lock="")
        return [row[0] for row in self.database.rows(sql, **bound)]

    def rows(self, table: str, ids: Sequence[str]) -> list[str]:
        """Delete one request each, some at a time."""
        from .api import in_parallel

        # SQLite has one writer: requests side by side only make each other fail and wait.
        workers = self.concurrency if self.database.is_postgresql else 1
        return in_parallel(lambda row: self.api.delete(f"{table}s", row), ids, workers)

    def logs_of_tasks(self, ids: Sequence[str]) -> None:
        """Delete them in a transaction of their own: the server leaves them."""
        run_batch(self.database, queries.DELETE_LOGS_OF_TASKS.format(ids=queries.listed(ids)))


@dataclass(frozen=True)
class BySql:
    """Deletion by SQL: each batch is one transaction, and what others hold is left alone."""

    database: Database
    name: str = "sql"
    runs_a_batch: int = _RUNS
    rows_a_batch: int = _ROWS

    def unit(self) -> AbstractContextManager[None]:
        """One transaction: locked, looked at again and deleted, or nothing of it."""
        return self.database.transaction()

    def doomed_runs(self, rules: Rules, **bound: Any) -> list[tuple[str, bool]]:
        """Lock the trees of a batch; one of which a run is held or changed stays whole."""
        sql = queries.LOCKED_DOOMED_RUNS.format(goes=rules.run_goes, lock=self._lock("r"))
        return [(row[0], bool(row[1])) for row in self.database.rows(sql, **bound)]

    def runs(self, rows: Sequence[tuple[str, bool]]) -> list[str]:
        """Delete runs that are locked; foreign keys take their children along."""
        ids = queries.listed([run for run, _ in rows])
        self.database.run(queries.DELETE_BY_ID.format(table="flow_run", column="id", ids=ids))
        self.database.run(queries.DELETE_BY_ID.format(table="log", column="flow_run_id", ids=ids))
        return []

    def doomed_rows(self, table: str, alias: str, goes: str, **bound: Any) -> list[str]:
        """Lock what still goes."""
        sql = queries.STILL_DOOMED_ROWS.format(
            table=table, alias=alias, goes=goes, lock=self._lock(alias)
        )
        return [row[0] for row in self.database.rows(sql, **bound)]

    def rows(self, table: str, ids: Sequence[str]) -> list[str]:
        """Delete rows that are locked."""
        listed = queries.listed(ids)
        self.database.run(queries.DELETE_BY_ID.format(table=table, column="id", ids=listed))
        return []

    def logs_of_tasks(self, ids: Sequence[str]) -> None:
        """Delete them in the same transaction."""
        self.database.run(queries.DELETE_LOGS_OF_TASKS.format(ids=queries.listed(ids)))

    def _lock(self, alias: str) -> str:
        return f"FOR UPDATE OF {alias} SKIP LOCKED" if self.database.is_postgresql else ""
