"""No standby is left far behind."""

from __future__ import annotations

from collections import Counter

from ..units import size
from .seen import Seen

# What a standby says of its seconds counts only where it is behind by WAL too: in an idle server
# the last word may be old.
_BYTES_BEHIND = 2**20


def replica(seen: Seen) -> str | None:
    """Say which standby is behind, or has gone since the work began; None when none is."""
    limits = seen.limits
    for standby in seen.now.standbys:
        if standby.bytes is None:
            continue
        if limits.replica_lag_bytes and standby.bytes > seen.most(limits.replica_lag_bytes):
            return f"standby {standby.name} is {size(standby.bytes)} behind"
        late = limits.replica_lag_seconds and standby.bytes > _BYTES_BEHIND
        if late and (standby.seconds or 0) > seen.most(limits.replica_lag_seconds):
            return f"standby {standby.name} is {standby.seconds:.0f} s behind"
    return _gone(seen) if limits.replica_lag_bytes or limits.replica_lag_seconds else None


def _gone(seen: Seen) -> str | None:
    """Say who follows no more: how far it is behind cannot be seen, and it grows."""
    before, now = (Counter(one.name for one in load.standbys) for load in (seen.first, seen.now))
    for name in before - now:
        return f"standby {name} has gone since the work began"
    read = {slot.name for slot in seen.first.slots if slot.active}
    for slot in seen.now.slots:
        if slot.name in read and not slot.active:
            return f"replication slot {slot.name} is read by nobody since the work began"
    return None
