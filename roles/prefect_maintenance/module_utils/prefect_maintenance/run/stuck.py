"""Stuck runs in the step that deletes: found before the deletion, and ended before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..catalogue import FLOW_RUN
from ..execute.ledger import Ledger
from ..execute.stuck import EndStuck
from ..plan.plan import NEVER_STARTED, WITH_RUN, Plan, Reason, given
from ..plan.rules import Rules
from ..plan.stuck import LATE, Overdue, StuckRuns, leaving
from ..report.stuck import LISTED, listed
from ..units import count
from .session import Session

if TYPE_CHECKING:
    from ..server.api import PrefectApi


def find_stuck(session: Session, api: PrefectApi | None) -> tuple[list[Overdue], Plan]:
    """Find the runs that are stuck, and note them in the report.

    Returns:
        The runs, and what goes with those that are to be deleted.

    Raises:
        ApiError: the server does not say who speaks for them.
    """
    found: list[Overdue] = []
    if api is not None and session.settings.stuck:
        runs = _runs(session)
        found = runs.spoken_for(api, runs.find())
    report = replace(session.report, stuck=listed(one.run for one in found))
    if more := len(found) - len(report.stuck):
        told = f"{count(more)} more stuck runs are not listed; the first {count(LISTED)} are"
        report = report.with_warnings([told])
    late = [one.run.id for one in found if one.run.state == LATE and one.run.due]
    plan = _of_late(leaving(session.database, late))
    session.report = report.with_plan(plan)
    return found, plan


def end_stuck(
    session: Session, api: PrefectApi | None, found: list[Overdue], ledger: Ledger
) -> Rules:
    """End the runs that were found, as far as they still are stuck.

    Returns:
        The rules, by which what belongs to the ended runs stays until the next run: the plan has
        it so.

    Raises:
        ConnectionFailed: the database is gone.
        Stopped: between two calls.
    """
    if api is None or not any(one.run.due for one in found):
        return session.staged_rules
    end = EndStuck(api, _runs(session), found, session.pace, ledger)
    with ledger.working_on(FLOW_RUN.name):
        end()
    return replace(session.staged_rules, ended=tuple(end.ended))


def _runs(session: Session) -> StuckRuns:
    settings = session.settings
    return StuckRuns(session.database, session.rules, settings.stuck, settings.cutoffs.reference)


def _of_late(rows: dict[str, int]) -> Plan:
    """Return the plan of what goes with late runs."""
    reasons = (
        Reason(table, gone, NEVER_STARTED if table == FLOW_RUN.name else WITH_RUN)
        for table, gone in rows.items()
    )
    return Plan(rows={table: gone for table, gone in rows.items() if gone}, reasons=given(reasons))
