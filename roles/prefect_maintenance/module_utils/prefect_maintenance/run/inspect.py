"""Measure everything; writes nothing."""

from __future__ import annotations

from dataclasses import asdict, replace

from ..catalogue import BY_NAME, EVENTS
from ..measure.disk import disk_elsewhere, free_elsewhere, own_disk, place_of
from ..measure.growth import growth
from ..measure.makers import event_types, flows
from ..pace.pace import Pace
from ..report.text import render_sizes
from ..request.settings import Settings
from .outcome import Outcome
from .session import Session, begun
from .standing import note_standing
from .what_if import what_would_go


def bloat_info(settings: Settings, pace: Pace) -> Outcome:
    """Measure everything; writes nothing.

    Raises:
        PrivilegeError: the role lacks a privilege for one of the steps that are to follow.
        MaintenanceError: the database cannot be measured, or it is not the API's.
    """
    with begun("bloat_info", settings, pace) as session:
        if settings.locate:
            place = asdict(place_of(session.database))
            return Outcome(False, session.report, [], {"place": place}, {}, {})
        database, server = session.database, session.server
        session.prove()
        sizes = session.note_sizes("before")
        session.report = session.report.with_growth(growth(database, sizes, settings.cutoffs))
        session.note_due()
        _note_disk(session)
        note_standing(session)
        report = session.report
        for table in report.tables:
            entity = BY_NAME[table.name].entity
            if entity:
                report = report.with_table(replace(table, cutoff=report.cutoffs[entity]))
        drivers = []
        if settings.growth_drivers:
            since = settings.cutoffs.flow_runs
            drivers = flows(database, since)
            events = next(size for size in sizes if size.name == EVENTS.name)
            makers = {"flows": drivers, "event_types": event_types(database, events, since)}
            report = report.with_basis(makers=makers)
        if settings.what_if:
            report = what_would_go(session, report, sizes)
        report = report.closed("inspect", session.seconds)
    answers = {
        "server": dict(report.server),
        "database": {
            "dialect": server.dialect,
            "version": server.version,
            "revision": server.revision,
            "bytes": report.database["bytes_before"],
        },
        "tables": [
            {
                "name": t.name,
                "rows": t.rows_before,
                "rows_method": t.rows_method,
                "heap_bytes": t.heap_bytes,
                "toast_bytes": t.toast_bytes,
                "index_bytes": t.index_bytes,
                "bytes": t.bytes_before,
                "dead": t.dead_before,
                "bloat_bytes": t.bloat_bytes,
                "bloat_percent": t.bloat_percent,
                "bloat_method": t.bloat_method,
                "oldest": t.oldest_after,
                "oldest_due": t.oldest_due,
                "cutoff": t.cutoff,
                "rows_per_day": t.rows_per_day,
                "bytes_per_day": t.bytes_per_day,
                "growth_method": t.growth_method,
            }
            for t in report.tables
        ],
        "growth": drivers,
    }
    return Outcome(False, report, render_sizes(report, drivers), answers, {}, {})


def _note_disk(session: Session) -> None:
    """Note the disk of the database: as it was found on another host, else the target's own."""
    look = session.settings.disk
    if look:
        free = [asdict(one) for one in free_elsewhere(look)]
        session.report = session.report.with_database(disks=free)
    found = disk_elsewhere(look) if look else own_disk(session.database)
    if isinstance(found, str):
        session.report = session.report.with_warnings([found])
    else:
        session.report = session.report.with_basis(disk=asdict(found) if found else None)
