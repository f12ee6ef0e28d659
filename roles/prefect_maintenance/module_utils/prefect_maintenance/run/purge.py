"""Purge logs, events, their resources and orphans by SQL."""

from __future__ import annotations

from dataclasses import replace

from ..catalogue import TABLES
from ..execute.purge import purge
from ..execute.purge_job import Purge
from ..measure.examine import require_writable
from ..pace.pace import Pace
from ..plan import rule_warnings
from ..plan.plan import Plan
from ..plan.purge import plan_purge, with_decisions
from ..request.settings import Settings
from .allowed import require_allowed
from .outcome import Outcome, deleted
from .session import Session, begun


def purge_rows(settings: Settings, pace: Pace) -> Outcome:
    """Purge logs, events, their resources and orphans by SQL.

    Raises:
        MaintenanceError: the purge could not begin.
    """
    with begun("purge", settings, pace) as session:
        database, server = session.database, session.server
        purged = [table.name for table in TABLES if table.purged]
        require_writable(database, server, "purge", [*purged, *server.unforced])
        session.note_scarce_disk()
        with session.at_work():
            plan = _planned(session)
            session.report = session.report.with_warnings(rule_warnings.of_rows(plan.rules))
            # Where nothing goes, it is enough that the step before has proved whose this is.
            if any(plan.rows.values()) or not session.proven:
                session.prove()
            plan = session.with_pages(plan)
            session.require_room(plan)
            require_allowed(session, plan)
            session.report = session.report.with_plan(plan)
            for decision in plan.decisions.values():
                if decision.strategy != settings.purge_strategy != "auto":
                    told = f"{decision.table}: {decision.why}"
                    session.report = session.report.with_warnings([told])
            if settings.check:
                return session.planned(plan)
            ledger, error = session.carry_out(
                lambda ledger: purge(
                    Purge(
                        database=database,
                        server=server,
                        rules=session.staged_rules,
                        cutoffs=settings.cutoffs,
                        plan=plan,
                        batch_size=settings.limits.batch_size,
                        lock_timeout=settings.limits.lock_timeout,
                        max_lock=settings.reclaim.max_lock,
                        disks=session.disks,
                        pace=pace,
                        ledger=ledger,
                    )
                )
            )
            plan = plan.counted(ledger.aged)
            whole = session.report.plan.counted(ledger.aged)
            session.report = replace(session.report, plan=whole)
            session.measure_left(error)
            report = session.report
            seconds, also = session.seconds, bool(session.removed)
            return deleted("purge", database, report, plan, ledger, seconds, error, also=also)


def _planned(session: Session) -> Plan:
    """Plan the purge; where nothing but a rewrite needs to know how many rows go, about."""
    settings, archive = session.settings, session.archive
    counted = settings.check or settings.max_rows or settings.saved_plan or archive is not None
    plan = _decided(session, roughly=not counted and settings.purge_strategy != "delete")
    rewritten = {one.table for one in plan.decisions.values() if one.strategy == "rewrite"}
    if all(table in rewritten and plan.rows[table] > stays for table, stays in plan.about.items()):
        return plan
    return _decided(session, roughly=False)


def _decided(session: Session, *, roughly: bool) -> Plan:
    database, settings = session.database, session.settings
    plan = plan_purge(
        database,
        session.staged_rules,
        settings.cutoffs,
        session.server.unforced,
        session.pace.events,
        roughly=roughly,
    )
    room = session.disks.look()
    return with_decisions(database, plan, settings.purge_strategy, session.wanted, room)
