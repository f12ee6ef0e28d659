"""WAL is not written faster than it is archived."""

from __future__ import annotations

from .seen import Seen


def archive(seen: Seen) -> str | None:
    """Say how many WAL segments wait for the archive; None when few do."""
    now, most = seen.now, seen.limits.archive_segments
    if not most or now.archive is None or now.archive <= seen.most(most):
        return None
    fails = ", and archiving fails" if now.archive_fails else ""
    return f"{now.archive} WAL segments wait for the archive{fails}"
