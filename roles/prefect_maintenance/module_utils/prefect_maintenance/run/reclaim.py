"""Vacuum, and give space back where it pays."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConnectionFailed
from ..events import Reclaimed
from ..execute import repack
from ..execute.ledger import Ledger
from ..execute.reclaim import Reclaim, reclaim, refresh_statistics
from ..measure.examine import require_writable
from ..measure.sizes import database_bytes
from ..pace.pace import Pace
from ..plan.choices import REWRITING
from ..plan.reclaim import plan_reclaim
from ..report.report import Report
from ..request.settings import Settings
from .outcome import Outcome, reclaimed
from .session import Session, begun


def vacuum(settings: Settings, pace: Pace) -> Outcome:
    """Vacuum, and give space back where it pays.

    Raises:
        MaintenanceError: the reclaim could not begin.
    """
    with begun("vacuum", settings, pace) as session:
        database = session.database
        if settings.reclaim.mode == "repack":
            repack.require(database)
        if settings.check:
            session.note_sizes("after_delete")
            deleted, rewritten = session.report.deleted, _rewritten(session)
            report = _planned(session, deleted, rewritten)
            plan = report.plan
            for choice in plan.reclaim:
                report = report.with_choice(choice)
            changed = any(choice.action in REWRITING for choice in plan.reclaim)
            return reclaimed(report, session.seconds, changed=changed)
        require_writable(database, session.server, "vacuum", [])
        with session.at_work():
            before = database_bytes(database)
            session.note_sizes("after_delete")
            _, error = session.carry_out(lambda ledger: _carried_out(session, ledger))
            given_back = 0
            if not isinstance(error, ConnectionFailed):
                after = database_bytes(database)
                given_back = before - after
                session.note_sizes("after")
                session.report = session.report.with_database(bytes_after=after)
                session.note_due()
            changed = any(
                isinstance(event, Reclaimed) and event.action in REWRITING
                for event in pace.events.kept
            )
            return reclaimed(
                session.report,
                session.seconds,
                changed=changed,
                given_back=given_back,
                error=error,
            )


def _rewritten(session: Session) -> dict[str, int]:
    tables = session.report.tables
    return {table.name: table.ways["rewrite"] for table in tables if "rewrite" in table.ways}


def _carried_out(session: Session, ledger: Ledger) -> None:
    wanted = session.wanted
    if wanted.mode == "none":
        return
    job = Reclaim(
        database=session.database,
        deleted=session.report.deleted,
        rewritten=_rewritten(session),
        lock_timeout=session.settings.limits.lock_timeout,
        wanted=wanted,
        disks=session.disks,
        pace=session.pace,
        ledger=ledger,
    )
    refresh_statistics(job)
    session.report = _planned(session, {}, {})
    reclaim(job, session.report.plan.reclaim)


def _planned(session: Session, deleted: Mapping[str, int], rewritten: Mapping[str, int]) -> Report:
    """Plan the reclaim; returns the report with it, and with what cannot come back."""
    plan = plan_reclaim(
        session.database,
        session.wanted,
        deleted,
        rewritten,
        before=int(session.report.database["bytes_before"]),
        room=session.disks.look(),
    )
    told = (f"{choice.table}: {choice.why}" for choice in plan.reclaim if choice.left)
    return session.report.with_plan(plan).with_warnings(told)
