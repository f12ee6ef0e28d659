"""Autovacuum on a table is left to end: more deletes would only give it more to do."""

from __future__ import annotations

from .seen import Seen


def autovacuum(seen: Seen) -> str | None:
    """Say that autovacuum is at work on the table at hand; None when it is not."""
    if not seen.limits.autovacuum or seen.at not in seen.now.vacuumed:
        return None
    return f"autovacuum is at work on {seen.at}"
