"""Vacuum, and give space back where it pays."""

from __future__ import annotations

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
            plan = plan_reclaim(
                database, settings.reclaim, deleted, rewritten, before=_before(session)
            )
            report = session.report.with_plan(plan)
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


def _before(session: Session) -> int:
    return int(session.report.database["bytes_before"])


def _carried_out(session: Session, ledger: Ledger) -> None:
    wanted = session.settings.reclaim
    if wanted.mode == "none":
        return
    job = Reclaim(
        database=session.database,
        deleted=session.report.deleted,
        rewritten=_rewritten(session),
        lock_timeout=session.settings.limits.lock_timeout,
        pace=session.pace,
        ledger=ledger,
    )
    refresh_statistics(job)
    plan = plan_reclaim(session.database, wanted, {}, {}, before=_before(session))
    session.report = session.report.with_plan(plan)
    reclaim(job, plan.reclaim)
