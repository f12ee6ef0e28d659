"""Say what would go with the policy of a request, without a maintenance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..measure.sizes import TableSize
from ..plan.what_if import counted, estimated, may_count
from ..report.report import Report
from .session import Session


def what_would_go(session: Session, report: Report, sizes: Iterable[TableSize]) -> Report:
    """Note in a report what would go: counted in check mode and on SQLite, else estimated."""
    database, cutoffs, sizes = session.database, session.settings.cutoffs, tuple(sizes)
    asked = session.settings.check or not database.is_postgresql
    if asked and may_count(database):
        unforced = session.server.unforced
        found = counted(database, session.rules, cutoffs, unforced, sizes, session.pace.events)
        return replace(report, what_if=tuple(found))
    if asked:
        report = report.with_warnings([_NOT_COUNTED])
    found, left = estimated(database, session.rules, cutoffs, sizes, session.pace.events)
    if left:
        report = report.with_warnings([f"what would go of {', '.join(left)} is not known: {_LONG}"])
    return replace(report, what_if=tuple(found))


_NOT_COUNTED = (
    "what would go is estimated: counting needs temporary tables, which a standby and a role "
    "without TEMPORARY on the database cannot have"
)
_LONG = "an estimate would have taken too long; --check counts it"
