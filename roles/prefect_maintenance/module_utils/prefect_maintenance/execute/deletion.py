"""One deletion of orchestration objects: what it works with, and what it notes of each batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..catalogue import LOG
from ..database.connection import Database
from ..database.set_for import set_for
from ..events import Progress
from ..pace.pace import Pace
from ..plan.plan import Plan
from ..plan.rules import Rules
from ..request.policy import Cutoffs
from .ledger import Ledger
from .ways import SETTINGS_FOR_LOGS, ByApi, BySql, Deleted
from .worklist import WORKLIST_LEFT


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

    @property
    def most(self) -> int:
        """Rows of one transaction: fewer while they take long."""
        return self.pace.batches.of(self.by_sql.most)

    def note(self, table: str, way: str, done: Deleted, total: int) -> None:
        """Count what a batch did, finish it, and let the pace decide about the next."""
        for left, rows in done.gone.items():
            self.ledger.add(left, rows, way if left == table else "cascade")
        asked = False
        for rows in self._logs(table, done):
            self.ledger.add(LOG.name, 0 if done.logs_counted else rows, "cascade")
            self.pace(Progress(table, self.ledger.rows[table], total))
            asked = True
        if not asked:
            self.pace(Progress(table, self.ledger.rows[table], total))

    def _logs(self, table: str, done: Deleted) -> Iterator[int]:
        """Delete the logs that a batch left; yields each part's rows."""
        if done.logging:
            with set_for(self.database, SETTINGS_FOR_LOGS[table]):
                yield from self.by_sql.logs(table, done.logging, lambda: self.most)

    def tell_left(self, table: str) -> None:
        """Say how many rows of a table stay that the list of this run had."""
        left = self.database.scalar(WORKLIST_LEFT.format(table=table))
        if left:
            self.ledger.warn(
                f"{table}: {left} rows stay that were to go: they, or a run that they belong to, "
                "were in use or changed meanwhile; the next run looks at them again"
            )
