"""Whether a plan may be carried out: the cap on its rows, and the plan that it should be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..database.identity import identity
from ..errors import PlanRefused
from ..plan.delete import plan_delete
from ..plan.plan import Plan
from ..plan.saved import Circumstances, document, drift, over
from ..request.as_written import decides
from ..request.instants import iso, now
from ..request.saved_plan import MAKE_ANEW
from .session import Session
from .stuck import late_to_come

_CAP = "look at the plan with --check, then raise prefect_maintenance_max_rows or keep more"


def require_allowed(session: Session, plan: Plan) -> None:
    """Make sure that a step may begin, before its first write; a check only notes that it may not.

    What this run has deleted counts, and for a purge what the deletion after it will take, where
    that was announced.

    Raises:
        PlanRefused: more rows would go than may, or than a saved plan has, or something else
            differs from that.
    """
    _note_asked(session)
    settings, saved = session.settings, session.settings.saved_plan
    if not settings.max_rows and saved is None:
        return
    announced = session.step == "purge" and "delete" in settings.before
    if announced and settings.check:
        # The check of the deletion counts both.
        return
    plan = plan.joined(_to_come(session)) if announced else plan
    rows = dict(session.report.deleted)
    for table, goes in plan.rows.items():
        rows[table] = rows.get(table, 0) + goes
    if told := over(rows, settings.max_rows):
        _refuse(session, told, _CAP)
    if saved is None:
        return
    rules = session.report.plan.joined(plan).rules
    found = _circumstances(session)
    if changed := drift(saved, found, rows, rules, settings.plan_drift, now()):
        _refuse(session, f"the saved plan cannot be applied: {changed}", MAKE_ANEW)
    applied = {
        "made": iso(saved.made),
        "fingerprint": saved.fingerprint,
        "planned": sum(saved.rows.values()),
        "found": sum(rows.values()),
    }
    session.report = replace(session.report, saved_plan=applied)


def to_be_saved(session: Session) -> dict[str, Any]:
    """Return the plan of the whole run, in its last step, as it is to be kept."""
    _note_asked(session)
    report = session.report
    return document(report.plan, _circumstances(session), now(), report.refused)


def _note_asked(session: Session) -> None:
    settings = session.settings
    if settings.saved_plan or (settings.save_plan and settings.check):
        asked = {**session.report.asked, **decides(session.step, settings)}
        session.report = replace(session.report, asked=asked)


def _circumstances(session: Session) -> Circumstances:
    return Circumstances(
        host=session.report.host,
        database=identity(session.database),
        revision=session.server.revision,
        reference=session.settings.cutoffs.reference,
        policy=session.report.asked,
    )


def _to_come(session: Session) -> Plan:
    """Plan what the deletion takes that follows a purge."""
    database, rules = session.database, session.staged_rules
    cutoffs, tell = session.settings.cutoffs, session.pace.events
    plan = plan_delete(database, rules, cutoffs, purged=True, tell=tell)
    return plan.joined(late_to_come(session))


def _refuse(session: Session, told: str, remedy: str) -> None:
    if not session.settings.check:
        gone = any(session.report.deleted.values())
        raise PlanRefused(f"nothing {'more ' * gone}was deleted: {told}; {remedy}", remedy)
    warning = f"a run would be refused: {told}"
    refused = "; ".join(filter(None, (session.report.refused, told)))
    report = replace(session.report, refused=refused).with_warnings([warning])
    session.report = report.with_remedy(warning, remedy)
