"""A server that has more to do than before the work is left to it."""

from __future__ import annotations

from .seen import Seen

# So many more than before are no sign of load: an idle server had none.
_MORE = 8


def sessions(seen: Seen) -> str | None:
    """Say how many sessions are at work; None when about as many are as before."""
    times, now, before = seen.limits.active_sessions, seen.now.active, seen.first.active
    if not times or now <= seen.most(max(times * before, before + _MORE)):
        return None
    return f"{now} sessions are at work in the database, {before} were before"
