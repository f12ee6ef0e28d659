"""What a rule makes go and what it keeps, as plans and reports show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..request.instants import iso

GENERAL = "the general policy"


@dataclass(frozen=True)
class RuleCount:
    """What one rule decides.

    Attributes:
        kind: "run", "event" or "log".
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
