"""Vacuum, and give space back where it pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import ConnectionFailed
from ..events import AutovacuumSet, Event, IndexRebuilt, Reclaimed
from ..execute import repack
from ..execute.indexes import mend
from ..execute.ledger import Ledger
from ..execute.reclaim import Reclaim, reclaim, refresh_statistics
from ..execute.tune import tune
from ..measure.autovacuum import Setting, autovacuum, settable
from ..measure.examine import require_writable
from ..measure.sizes import database_bytes
from ..pace.pace import Pace
from ..plan.choices import REWRITING
from ..plan.plan import with_indexes
from ..plan.reclaim import plan_reclaim
from ..report.report import Report
from ..request.settings import Settings
from .allowed import to_be_saved
from .outcome import Outcome, reclaimed
from .session import Session, begun
from .standing import index_choices, note_end, rows_left, transactions_begun


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
            return _foretold(session)
        require_writable(database, session.server, "vacuum", [])
        with session.at_work():
            before, begun_before = database_bytes(database), transactions_begun(session)
            session.note_sizes("after_delete", ages=False)
            _, error = session.carry_out(lambda ledger: _carried_out(session, ledger))
            given_back = 0
            if not isinstance(error, ConnectionFailed):
                after = database_bytes(database)
                given_back = before - after
                session.note_sizes("after")
                session.report = session.report.with_database(bytes_after=after)
                session.note_due()
                note_end(session, begun_before)
            changed = any(_changes(event) for event in pace.events.kept)
            return reclaimed(
                session.report,
                session.seconds,
                changed=changed,
                given_back=given_back,
                error=error,
            )


def _foretold(session: Session) -> Outcome:
    """Say what a run would do."""
    deleted, rewritten = session.report.deleted, _rewritten(session)
    session.report = _planned(session, deleted, rewritten)
    to_set, report = _to_set(session, rows_left(session, deleted)), session.report
    for choice in report.plan.reclaim:
        report = report.with_choice(choice)
    changed = any(choice.action in REWRITING for choice in report.plan.reclaim)
    changed = changed or bool(report.plan.indexes) or bool(to_set)
    outcome = reclaimed(report, session.seconds, changed=changed)
    if not session.settings.save_plan:
        return outcome
    return replace(outcome, answers={**outcome.answers, "saved_plan": to_be_saved(session)})


def _changes(event: Event) -> bool:
    if isinstance(event, Reclaimed):
        return event.action in REWRITING
    return isinstance(event, IndexRebuilt | AutovacuumSet)


def _to_set(session: Session, rows: Mapping[str, int]) -> tuple[Setting, ...]:
    """Note what of autovacuum's settings lets tables grow; returns what is to be set of it."""
    found = autovacuum(session.database, rows)
    session.report = replace(session.report, autovacuum=found)
    if not session.settings.tune_autovacuum:
        return ()
    allowed, refused = settable(session.database, found)
    session.report = session.report.with_warnings(refused)
    return allowed


def _rewritten(session: Session) -> dict[str, int]:
    tables = session.report.tables
    return {table.name: table.ways["rewrite"] for table in tables if "rewrite" in table.ways}


def _carried_out(session: Session, ledger: Ledger) -> None:
    if session.settings.reclaim.mode != "none":
        _give_back(session, ledger)
    to_set, timeout = _to_set(session, rows_left(session, {})), session.settings.limits.lock_timeout
    tune(session.database, to_set, timeout, session.pace, ledger)


def _give_back(session: Session, ledger: Ledger) -> None:
    job = Reclaim(
        database=session.database,
        deleted=session.report.deleted,
        rewritten=_rewritten(session),
        lock_timeout=session.settings.limits.lock_timeout,
        wanted=session.wanted,
        disks=session.disks,
        pace=session.pace,
        ledger=ledger,
    )
    refresh_statistics(job)
    session.report = _planned(session, {}, {})
    plan = session.report.plan
    reclaim(job, plan.reclaim)
    mend(job, plan.indexes)


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
    indexes = index_choices(session, plan, rows_left(session, deleted), _rewritten(session))
    built = tuple(one for one in indexes if one.changes)
    return session.report.with_plan(with_indexes(plan, built)).with_warnings(told)
