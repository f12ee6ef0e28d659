"""How a step ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..catalogue import FLOW_RUN
from ..database.connection import Database
from ..errors import ConnectionFailed, MaintenanceError, Stopped
from ..execute.ledger import Ledger
from ..measure.sizes import database_bytes
from ..plan.plan import KEY_GONE, NEVER_STARTED, OLD, Plan
from ..report.report import Report
from ..report.text import render
from ..request.instants import now
from ..request.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """How a step ended: whether it changed anything, the report, its own answers, its failure.

    `before` and `after` tell a person the difference per table: rows that are due, or bytes.
    """

    changed: bool
    report: Report
    summary: list[str]
    answers: Mapping[str, Any]
    before: Mapping[str, int]
    after: Mapping[str, int]
    error: MaintenanceError | None = None

    @property
    def failure(self) -> MaintenanceError | None:
        """What the step failed from; one that ended because no window was open did not fail."""
        put_off = isinstance(self.error, Stopped) and self.error.goes_on
        return None if put_off else self.error


def put_off(settings: Settings, step: str, stopped: Stopped) -> Outcome:
    """Close a step that did not begin because no window was open."""
    so_far = Report.resume(settings, now())
    report = replace(so_far.closed(step, 0.0, stopped), steps=so_far.steps)
    return Outcome(False, report, render(report), {}, {}, {}, stopped)


def planned(
    step: str, report: Report, plan: Plan, seconds: float, *, also: bool = False
) -> Outcome:
    """Close a step that only planned, or had nothing to do.

    Args:
        step: its name.
        report: of the run so far.
        plan: of the step.
        seconds: that it took.
        also: something changes although no row goes.
    """
    report = report.with_deleted(plan.rows)
    for table, rows in plan.rows.items():
        if rows:
            ways = _deleted(plan, table) if step == "delete" else _purged(step, plan, table)
            counted = report.table(table).counted(ways, check=report.check_mode)
            report = report.with_table(counted)
    report = report.closed(step, seconds)
    answers = {"deleted": dict(plan.rows), "kept": [asdict(kept) for kept in plan.kept]}
    due = {table: rows for table, rows in plan.rows.items() if rows}
    changed = bool(due) or also or any(run.due for run in report.stuck)
    return Outcome(changed, report, render(report), answers, due, dict.fromkeys(due, 0))


def _purged(step: str, plan: Plan, table: str) -> dict[str, int]:
    """Return how many rows of a table the purge removes in each way."""
    if table not in plan.decisions:
        return {step: plan.rows[table]}
    way = plan.decisions[table].strategy
    # A rewrite keeps what its age alone would keep; orphans are deleted after it.
    orphaned = plan.orphaned.get(table, 0) if way == "rewrite" else 0
    ways = {way: plan.rows[table] - orphaned}
    return {**ways, "delete": orphaned} if orphaned else ways


def _deleted(plan: Plan, table: str) -> dict[str, int]:
    """Return how many rows of a table the deletion removes in each way."""
    by_themselves = sum(
        reason.rows
        for reason in plan.reasons
        if reason.what == table and reason.why in (OLD, KEY_GONE)
    )
    through_api = plan.via.through_api if plan.via and table == FLOW_RUN.name else 0
    late = sum(one.rows for one in plan.reasons if one.what == table and one.why == NEVER_STARTED)
    by_themselves += late
    return {
        "late": late,
        "api": through_api,
        "sql": by_themselves - through_api - late,
        "cascade": plan.rows[table] - by_themselves,
    }


def deleted(
    step: str,
    database: Database,
    report: Report,
    plan: Plan,
    ledger: Ledger,
    seconds: float,
    error: MaintenanceError | None,
    *,
    also: bool = False,
) -> Outcome:
    """Close a step that deleted rows, or tried to; `also` that changed something beside them."""
    report = report.with_deleted(dict.fromkeys(ledger.rows, 0))
    if not isinstance(error, ConnectionFailed):
        report = report.with_database(bytes_after=database_bytes(database))
    report = report.closed(step, seconds, error)
    answers = {"deleted": dict(ledger.rows), "kept": [asdict(kept) for kept in plan.kept]}
    due = {table: rows for table, rows in plan.rows.items() if rows}
    left = {table: max(0, rows - ledger.rows.get(table, 0)) for table, rows in due.items()}
    changed = any(ledger.rows.values()) or also or any(run.done for run in report.stuck)
    return Outcome(changed, report, render(report), answers, due, left, error)


def reclaimed(
    report: Report,
    seconds: float,
    *,
    changed: bool,
    given_back: int = 0,
    error: MaintenanceError | None = None,
) -> Outcome:
    """Close the reclaim: it changed something when a table or a file was rewritten."""
    report = report.closed("vacuum", seconds, error)
    answers = {
        "tables": [asdict(table) for table in report.tables],
        "bytes_given_back": max(0, given_back),
    }
    before = {table.name: table.bytes_after_delete or 0 for table in report.tables}
    after = {table.name: table.bytes_after or 0 for table in report.tables}
    return Outcome(changed, report, render(report), answers, before, after, error)
