"""Say what would go with the policy of a request, without a maintenance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..measure.sizes import TableSize
from ..plan import rule_warnings
from ..plan.plan import Plan
from ..plan.what_if import counted, estimated, may_count, of_plan, without_order
from ..report.report import Report
from .session import Session

_NOT_COUNTED = (
    "what would go is estimated: counting needs temporary tables, which a standby and a role "
    "without TEMPORARY on the database cannot have"
)
_LONG = "an estimate would have taken too long; --check counts it"


def what_would_go(session: Session, report: Report, sizes: Iterable[TableSize]) -> Report:
    """Note in a report what would go: counted in check mode and on SQLite, else estimated."""
    database, sizes = session.database, tuple(sizes)
    if session.settings.check or not database.is_postgresql:
        if may_count(database):
            return _counted(session, report, sizes)
        report = report.with_warnings([_NOT_COUNTED])
    policy, cutoffs = session.settings.policy, session.settings.cutoffs
    rules = without_order(session.rules, policy, cutoffs)
    found, left = estimated(database, rules, cutoffs, sizes, session.pace.events)
    if left:
        report = report.with_warnings([f"what would go of {', '.join(left)} is not known: {_LONG}"])
    told = rule_warnings.of_runs(database, session.rules.runs, ())
    return replace(report, what_if=tuple(found)).with_warnings(told)


def _counted(session: Session, report: Report, sizes: tuple[TableSize, ...]) -> Report:
    database, rules, unforced = session.database, session.staged_rules, session.server.unforced
    plan = counted(database, rules, session.settings.cutoffs, unforced, session.pace.events)
    report = report.with_kept(plan.kept).with_holds(session.held)
    report = report.with_warnings(rule_warnings.of_runs(database, rules.runs, plan.rules))
    report = report.with_warnings(rule_warnings.of_rows(plan.rules))
    return replace(report, plan=Plan(rules=plan.rules), what_if=of_plan(plan, sizes))
