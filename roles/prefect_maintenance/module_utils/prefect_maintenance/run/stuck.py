"""Stuck runs in the step that deletes: found before the deletion, and ended before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    found = _found(session, api, session.settings.stuck)
    report = replace(session.report, stuck=listed(one.run for one in found))
    if more := len(found) - len(report.stuck):
        told = f"{count(more)} more stuck runs are not listed; the first {count(LISTED)} are"
        report = report.with_warnings([told])
    plan = _of_late(session, found)
    session.report = report.with_plan(plan)
    return found, plan


def late_to_come(session: Session) -> Plan:
    """Plan what the deletion after this step takes with late runs.

    Raises:
        ApiError: the server does not say whether something holds them back.
    """
    days = {state: days for state, days in session.settings.stuck.items() if state == LATE}
    with session.opened_api() as api:
        return _of_late(session, _found(session, api, days))


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
    end = EndStuck(api, _runs(session, session.settings.stuck), found, session.pace, ledger)
    with ledger.working_on(FLOW_RUN.name):
        end()
    return replace(session.staged_rules, ended=tuple(end.ended))


def _runs(session: Session, days: Mapping[str, int]) -> StuckRuns:
    reference = session.settings.cutoffs.reference
    return StuckRuns(session.database, session.rules, days, reference)


def _found(session: Session, api: PrefectApi | None, days: Mapping[str, int]) -> list[Overdue]:
    if api is None or not days:
        return []
    runs = _runs(session, days)
    return runs.spoken_for(api, runs.find())


def _of_late(session: Session, found: Iterable[Overdue]) -> Plan:
    """Return the plan of what goes with the late runs among those that were found."""
    late = [one.run.id for one in found if one.run.state == LATE and one.run.due]
    rows = leaving(session.database, late)
    reasons = (
        Reason(table, gone, NEVER_STARTED if table == FLOW_RUN.name else WITH_RUN)
        for table, gone in rows.items()
    )
    return Plan(rows={table: gone for table, gone in rows.items() if gone}, reasons=given(reasons))
