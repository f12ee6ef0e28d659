"""Autovacuum on a table is left to end, unless the work itself is what it cleans up after.

That one goes by the pace that its administrator gave it and makes room for whoever needs the table.
To wait for it would only let the next one come, which reads every index of the table again.
"""

from __future__ import annotations

from .seen import Seen


def autovacuum(seen: Seen) -> str | None:
    """Say that autovacuum is at work on the table at hand and is to be waited for; else None."""
    at_work = (one for one in seen.now.vacuumed if one.table == seen.at)
    if not seen.limits.autovacuum or not any(
        one.urgent or one in seen.first.vacuumed for one in at_work
    ):
        return None
    return f"autovacuum is at work on {seen.at}"
