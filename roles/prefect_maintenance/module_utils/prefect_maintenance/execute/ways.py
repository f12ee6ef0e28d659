"""Two ways to delete the objects of one batch: through the API, or by SQL under row locks.

Prefect's API has one deletion that asks for anything: POST /flow_runs/bulk_delete, since 3.6.16,
takes a filter on the runs themselves. DELETE /flow_runs/<id>, /task_runs/<id> and /artifacts/<id>
delete whatever state the object is in, and no request asks whether a subflow was hung on a run. So
`ByApi` takes flow runs that have no task runs, on which none can be hung, and everything else is
deleted by SQL.

Nothing is lost by that: Prefect emits no event when it deletes one of these objects, the slots
that it gives back are those of unfinished runs, and logs and collections are settled in SQL in
either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ..catalogue import BY_NAME, FLOW_RUN, LOG, TASK_RUN
from ..database.connection import Database
from ..database.set_for import BY_INDEX, set_in_transaction
from ..errors import ApiError, ConnectionFailed, MaintenanceError
from ..plan.rules import Rules
from .api_pace import ApiPace
from .archive_rows import archive_leaving, delete_whole
from .batches import SQLITE_BATCH, Rows, among, in_parts, run_batch, those
from .leaving import Unanswered, leaving, survivors
from .row_guards import Single, cut, free_singles, lock_rows, lock_trees

if TYPE_CHECKING:
    from ..server.api import PrefectApi

# Flow runs and other objects that are looked at together, and rows that one transaction deletes.
_RUNS, _ROWS, _BOUND = 200, 1000, 10_000

# The objects are asked, not their logs: to ask each log, the planner reads all objects there are.
_GONE = """
{those} WHERE NOT EXISTS (SELECT 1 FROM {table} p WHERE p.id = v.id)
"""
# So many logs are counted before a part of them is deleted, in transactions' worth.
_COUNTED = 20
_COUNT_LOGS = """
SELECT CAST(s.id AS VARCHAR), count(*) FROM (
    SELECT x.{column} AS id FROM {log} x WHERE {goes} LIMIT {most}) s GROUP BY s.id
"""
_DELETE_LOGS = f"DELETE FROM {LOG.name} AS x WHERE {{goes}}"

# Tables whose rows logs name, and the column in which they do.
LOGGING = {parent.table: parent.column for parent in LOG.parents}

# A condition on the logs of task runs reads deployments, for their tags.
SETTINGS_FOR_LOGS = {FLOW_RUN.name: BY_INDEX, TASK_RUN.name: {}}


@dataclass(frozen=True)
class Deleted:
    """What one batch did.

    Attributes:
        gone: rows that left each table, those that foreign keys took along included.
        error: why something could not be deleted.
        ids: objects that are gone.
        logging: those of them whose logs may still be there.
        logs_counted: whether `gone` has all their logs, those that are still there included.
    """

    gone: Mapping[str, int]
    error: MaintenanceError | None = None
    ids: Sequence[str] = ()
    logging: Sequence[str] = ()
    logs_counted: bool = False


@dataclass(frozen=True)
class ByApi:
    """Deletion of flow runs through the API: the server decides once more about each.

    The server reads the runs that match and deletes them in one transaction, without a lock in
    between: a retry that is under way at that moment, milliseconds as a rule, is not seen by it.
    So runs that another session holds already are not even asked for.

    Attributes:
        rules: say whether a run still goes; the guard of each deletion names their states.
        cutoff: of flow runs, which the guard names too.
        begun: when the deletion began; where a rule has no cutoff the guard names this.
        unanswered: runs of calls that failed.
        gives_way: what it cannot delete goes by SQL.
        pace: says how many runs a call deletes, and when it may come.
    """

    api: PrefectApi
    database: Database
    rules: Rules
    cutoff: datetime
    gives_way: bool
    pace: ApiPace
    begun: datetime
    name: str = "api"
    unanswered: Unanswered = field(default_factory=Unanswered)

    def hurried(self) -> AbstractContextManager[None]:
        """Send each request once until the end of the block: the pace waits, and heeds a stop."""
        return self.api.patience.none()

    def runs(self, batch: Sequence[Single], bound: Mapping[str, Any]) -> Deleted | None:
        """Delete flow runs; None when the server has no guard for that and nothing was done.

        Args:
            batch: trees of one run that one guard fits.
            bound: the cutoff, for the rules.
        """
        asked, before = self._asked(batch, bound)
        if not asked:
            return Deleted({})
        archive_leaving(self.database, FLOW_RUN, asked)
        error = None
        try:
            with self.pace.calling(len(asked)):
                if not self.api.delete_runs(asked, *self._guard(batch[0])):
                    return None
        except (ApiError, ConnectionFailed) as failed:
            error = failed
        left = survivors(self.database, FLOW_RUN, asked)
        after = leaving(self.database, FLOW_RUN, left) if left else {}
        gone = {table: rows - after.get(table, 0) for table, rows in before.items()}
        self.unanswered.took(asked)
        if error:
            self.unanswered.add(self.database, left)
        # Servers before 3.4.9 leave the logs, newer ones remove them in the background and forget
        # about it when they are restarted: whichever is there first takes them.
        went = [run for run in asked if run not in left]
        return Deleted(gone, error, went, went, logs_counted=True)

    def late(self) -> Deleted:
        """Return what the server deleted after a call had failed, each run once."""
        rows, runs = self.unanswered.gone(self.database)
        return Deleted(rows, ids=runs, logging=runs, logs_counted=True)

    def _asked(
        self, batch: Sequence[Single], bound: Mapping[str, Any]
    ) -> tuple[list[str], dict[str, int]]:
        """Return the runs that nobody holds, and what leaves with them."""
        ids = [run.id for run in batch]
        while asked := free_singles(self.database, self.rules, ids, bound):
            before = leaving(self.database, FLOW_RUN, asked)
            if before[FLOW_RUN.name] == len(asked):
                return asked, before
        return [], {}

    def _guard(self, run: Single) -> tuple[Sequence[str], datetime, bool]:
        """Return the states, the cutoff, and whether it may have no tags, of runs like this one."""
        if not run.rule:
            return self.rules.states, self.cutoff, run.untagged
        rule = self.rules.runs.rules[run.rule - 1]
        days = self.rules.runs.bound.get(f"rule_{rule.number}_days")
        return rule.states, days or self.begun, run.untagged


def answers(api: PrefectApi) -> bool:
    """Make a light read; returns whether the server answered it."""
    try:
        api.read()
    except (ApiError, ConnectionFailed):
        return False
    return True


@dataclass(frozen=True)
class BySql:
    """Deletion by SQL: each transaction locks, asks again and deletes, or does nothing of it.

    The children of an object go with it in one transaction, because a run that was revived
    half-way would have lost some, and so do their logs where they fit. Else the logs go right after
    it, in transactions of their own: once it is gone nobody can revive it, so they can be cut
    however many they are. So a transaction deletes at most `bound` rows, or what hangs on a single
    tree of runs or a single task run. Whoever is killed or stopped between the two leaves logs
    without their run, which the next purge takes.

    Attributes:
        rules: say whether an object still goes.
    """

    database: Database
    rules: Rules
    name: str = "sql"
    runs_a_batch: int = _RUNS
    rows_a_batch: int = _ROWS
    bound: int = _BOUND

    @property
    def most(self) -> int:
        """Rows that one transaction deletes; SQLite keeps every other writer out meanwhile."""
        return self.bound if self.database.is_postgresql else min(self.bound, SQLITE_BATCH)

    def runs(self, tops: Sequence[str], bound: Mapping[str, Any]) -> Deleted:
        """Delete the trees that still go whole, by their topmost runs, in one transaction."""
        return self._once(
            FLOW_RUN.name, partial(lock_trees, self.database, self.rules, tops, bound)
        )

    def rows(self, table: str, alias: str, goes: str, bound: Mapping[str, Any]) -> Deleted:
        """Delete the task runs or artifacts between two positions that still go.

        Args:
            table: of the objects.
            alias: its name in `goes`.
            goes: says whether an object may go.
            bound: what `goes` binds, and the positions `first` and `last`.
        """
        return self._once(table, partial(lock_rows, self.database, table, alias, goes, bound))

    def logs(self, table: str, ids: Sequence[str], most: Rows) -> Iterator[int]:
        """Delete what is left of the logs of objects that are gone; yields each part's rows.

        Args:
            table: of the objects.
            ids: of the objects.
            most: says how many rows the next transaction may delete.
        """
        countable = _COUNTED * self.most
        counted = self._count_logs(table, ids, countable)
        if counted is None and len(ids) > 1:
            for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
                yield from self.logs(table, half, most)
            return
        logs = {ids[0]: countable + 1} if counted is None else counted
        at_once = most()
        for part in cut(logs.items(), at_once):
            goes, bound = self._logs_of_gone(table, part)
            if sum(logs[one] for one in part) > at_once:
                yield from in_parts(self.database, LOG.name, goes, most, **bound)
            else:
                yield run_batch(self.database, LOG.name, _DELETE_LOGS.format(goes=goes), **bound)

    def _count_logs(self, table: str, ids: Sequence[str], most: int) -> dict[str, int] | None:
        """Count the logs of each of some objects that are gone; None where they are more.

        Objects that have none are not in it.
        """
        goes, bound = self._logs_of_gone(table, ids)
        sql = _COUNT_LOGS.format(log=LOG.name, column=LOGGING[table], goes=goes, most=most + 1)
        counted = {one: int(rows) for one, rows in self.database.rows(sql, **bound)}
        return None if sum(counted.values()) > most else counted

    def _logs_of_gone(self, table: str, ids: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        """Row `x` is a log of objects that are gone; returns too what that binds.

        A flow run that is retried after its old task runs went keeps their logs.
        """
        gone = _GONE.format(those=those(self.database, ids), table=table)
        goes = f"x.{LOGGING[table]} {among(self.database, gone)}"
        if table != TASK_RUN.name:
            return goes, {}
        return f"{goes} AND {self.rules.watched.not_live('x')}", self.rules.bound

    def _once(self, table: str, lock: partial[list[str]]) -> Deleted:
        def transaction() -> Deleted:
            with self.database.transaction():
                ids = lock()
                if not ids:
                    return Deleted({})
                gone = leaving(self.database, BY_NAME[table], ids, trailers=False)
                delete_whole(self.database, BY_NAME[table], ids)
                if table not in LOGGING:
                    return Deleted(gone, ids=ids)
                left = max(0, self.most - sum(gone.values()))
                set_in_transaction(self.database, SETTINGS_FOR_LOGS[table])
                counted = self._count_logs(table, ids, left)
                if counted:
                    goes, bound = self._logs_of_gone(table, list(counted))
                    sql = _DELETE_LOGS.format(goes=goes)
                    gone[LOG.name] = self.database.delete(LOG.name, sql, **bound)
                return Deleted(gone, ids=ids, logging=ids if counted is None else ())

        return self.database.retry_on_lock(transaction)
