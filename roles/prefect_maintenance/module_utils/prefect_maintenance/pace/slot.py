"""No replication slot loses the WAL that it needs."""

from __future__ import annotations

from ..units import size
from .seen import Seen

# The server's own bound may be smaller than the threshold; then half of it must be left.
_OF_BOUND = 0.5


def slot(seen: Seen) -> str | None:
    """Say which slot can bear little more WAL; None when all can.

    One that is lost already cannot lose more.
    """
    if not seen.limits.slot_safe_bytes:
        return None
    threshold = float(seen.limits.slot_safe_bytes)
    if seen.now.slot_keep > 0:
        threshold = min(threshold, _OF_BOUND * seen.now.slot_keep)
    for one in seen.now.slots:
        if one.status == "lost" or one.safe_bytes is None:
            continue
        if one.status == "unreserved" or one.safe_bytes < seen.least(threshold):
            left = size(max(0, one.safe_bytes))
            return f"replication slot {one.name} can bear only {left} more WAL"
    return None
