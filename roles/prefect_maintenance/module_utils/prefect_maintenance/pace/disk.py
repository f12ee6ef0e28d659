"""The disk of the database keeps some room, and the WAL its bounds."""

from __future__ import annotations

from ..units import size
from .seen import Seen

# On a disk that was nearly full before, the work may take so much of what was free: it is what
# frees the disk, and PostgreSQL uses its WAL files again.
_OF_FREE = 0.8


def disk(seen: Seen) -> str | None:
    """Say what of the disk runs out; None when nothing does."""
    now, first, limits = seen.now, seen.first, seen.limits
    if limits.wal_bytes and now.wal is not None and now.wal > seen.most(limits.wal_bytes):
        return f"{size(now.wal)} of WAL lie on the server's disk"
    if now.free_percent is None or first.free_percent is None:
        return None
    least = min(limits.disk_free_percent, _OF_FREE * first.free_percent)
    if now.free_percent >= min(seen.least(least), first.free_percent):
        return None
    return f"only {now.free_percent:.1f} % of the disk of {now.disk} are free"
