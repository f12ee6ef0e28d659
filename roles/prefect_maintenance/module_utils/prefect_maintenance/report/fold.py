"""What happened becomes the report: one event after the other is added to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..catalogue import FLOW_RUN
from ..events import (
    AutovacuumSet,
    Event,
    FellBack,
    IndexRebuilt,
    Reclaimed,
    Rewritten,
    StuckRunsSettled,
    TableDone,
    Warned,
)
from ..plan.choices import Choice
from . import delete_via, findings, stuck
from .report import Report


def fold(report: Report, events: Iterable[Event]) -> Report:
    """Return the report with what has happened since."""
    for event in events:
        report = _added(report, event)
    return report


def _added(report: Report, event: Event) -> Report:
    match event:
        case Warned(text):
            return report.with_warnings([text])
        case TableDone(table=None):
            return report.with_database(error=event.error, seconds=event.seconds)
        case TableDone(table=str(name), rows=rows):
            done = report.table(name).done(event, check=report.check_mode)
            if name == FLOW_RUN.name:
                via = delete_via.went(report.delete_via, event.ways)
                report = replace(report, delete_via=via)
            # A table of which nothing went is in the report only where the step says so.
            return report.with_deleted({name: rows} if rows else {}).with_table(done)
        case Rewritten(table=None):
            return report.with_database(lock_ms_max=int(1000 * event.lock_seconds))
        case Rewritten(table=str(name)):
            done = report.table(name).rewritten(event.lock_seconds, event.extra_bytes)
            return report.with_table(done)
        case Reclaimed():
            return report.with_choice(Choice(event.table, event.action, 0, event.why))
        case IndexRebuilt():
            return replace(report, indexes=findings.rebuilt(report.indexes, event))
        case AutovacuumSet():
            return replace(report, autovacuum=findings.tuned(report.autovacuum, event))
        case StuckRunsSettled():
            return replace(report, stuck=stuck.settled(report.stuck, event))
        case FellBack(table, why):
            if table == FLOW_RUN.name:
                via = delete_via.went(report.delete_via, why=why)
                report = replace(report, delete_via=via)
            known = report.table(table)
            told = f"{known.strategy_why}; {why}" if known.strategy_why else why
            return report.with_table(replace(known, strategy_why=told))
        case _:
            return report
