"""What a rule makes go and what it keeps, as plans and reports show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..catalogue import LOG
from ..database.connection import Database
from ..measure.sizes import total_bytes
from ..request.instants import iso
from .counts import RUN_TABLES

# What of a rule keeps, the broadest first.
CLAUSES = {
    "forever": "forever",
    "days": "for {keep.days} days",
    "last": "among the last {keep.last}",
    "last_success": "among the last {keep.last_success} that completed",
    "last_failure": "among the last {keep.last_failure} that failed or crashed",
}


@dataclass(frozen=True)
class RuleCount:
    """What one rule decides.

    Attributes:
        kind: "run", "event", "resource" (what rules for events do to the rows of
            event_resources) or "log".
        number: its place in its list; 0 is the general policy.
        name: what it is called.
        rows: that go by it; of runs those of flow_run.
        bytes: what goes with them, as an estimate; None when nobody knows.
        oldest: instant of the oldest row that goes; None when none goes.
        newest: the same of the newest.
        kept: rows that it decides about and that stay.
    """

    kind: str
    number: int
    name: str
    rows: int
    bytes: int | None
    oldest: str | None
    newest: str | None
    kept: int


def told(value: Any) -> str | None:
    """Return an instant of the database as reports show it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value).replace(tzinfo=UTC)
    return iso(value) if value else None


def bytes_of_a_run(database: Database, runs: int) -> float | None:
    """Return what one of so many runs takes on the average, with all that goes with it."""
    if not database.is_postgresql or not runs:
        return None
    return sum(total_bytes(database, table) for table in (*RUN_TABLES, LOG.name)) / runs
