"""Rules and holds of a report as its JSON stands, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Keys that a report has only when there is something to say of them.
_SELDOM = ("rules", "holds", "what_if")


def without_empty(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report as its JSON stands without what it has nothing to say of."""
    return {key: value for key, value in report.items() if value or key not in _SELDOM}
