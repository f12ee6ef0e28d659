"""Measure everything; writes nothing."""

from __future__ import annotations

from dataclasses import replace

from ..catalogue import BY_NAME
from ..measure.growth import growth
from ..measure.sizes import measure
from ..pace.pace import Pace
from ..report.text import render_sizes
from ..request.settings import Settings
from .outcome import Outcome
from .session import begun


def bloat_info(settings: Settings, pace: Pace) -> Outcome:
    """Measure everything; writes nothing.

    Raises:
        PrivilegeError: the role lacks a privilege for one of the steps that are to follow.
        MaintenanceError: the database cannot be measured, or it is not the API's.
    """
    with begun("bloat_info", settings, pace) as session:
        database, server = session.database, session.server
        session.prove()
        session.report = session.report.with_sizes("before", measure(database, tell=pace.events))
        session.note_due()
        report = session.report
        for table in report.tables:
            entity = BY_NAME[table.name].entity
            if entity:
                report = report.with_table(replace(table, cutoff=report.cutoffs[entity]))
        drivers = growth(database, settings.cutoffs.flow_runs) if settings.growth_drivers else []
        report = report.finished("inspect", session.seconds)
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
            }
            for t in report.tables
        ],
        "growth": drivers,
    }
    return Outcome(False, report, render_sizes(report, drivers), answers, {}, {})
