"""Prefect's API keeps answering about as fast as before the work."""

from __future__ import annotations

from .seen import Seen

# Seconds within which nobody misses anything.
_QUICK = 0.1


def api(seen: Seen) -> str | None:
    """Say how slow the API has become; None when it has not."""
    now, before, times = seen.latency, seen.idle_latency, seen.limits.api_latency
    if not times or now is None or before is None:
        return None
    if now <= seen.most(max(times * before, _QUICK)):
        return None
    return f"the Prefect API takes {1000 * now:.0f} ms to answer, {1000 * before:.0f} ms before"
