"""How the space of an SQLite file comes back: decided from measurements alone."""

from __future__ import annotations

from .. import units
from ..measure.sizes import TableSize
from ..request.settings import Reclaim
from .choices import Choice, too_little
from .estimate import of_file

# Prefect's writers wait for a minute before they give up, and an estimate may be wrong by half.
_WRITERS_WAIT = 30.0


def choose_file(
    whole: TableSize, wanted: Reclaim, *, exact: bool, incremental: bool, no_room: str
) -> Choice:
    """Decide how the space of an SQLite file comes back.

    VACUUM leaves the smallest file and keeps every writer out for its time, whatever the file.
    Where that is longer than `max_lock`, a file that can is shrunk in small steps; another one is
    still rewritten as long as Prefect's writers wait for it.

    Args:
        whole: the file as one table, which has free pages as bloat.
        wanted: mode, thresholds and the longest lock.
        exact: its free bytes were counted, not estimated.
        incremental: the file can give free pages back in small steps.
        no_room: why VACUUM would not fit on the disk.
    """
    if wanted.mode in ("none", "plain"):
        return Choice(None, wanted.mode, 0, f"vacuum is {wanted.mode}")
    if little := too_little(whole, whole.free_bytes(0), wanted, exact=exact):
        return Choice(None, "plain", 0, little)
    back = whole.bytes - whole.copy_bytes(0)
    gives = f"a rewrite gives back {units.size(back)}, {100 * back / whole.bytes:.0f} % of it"
    lock = of_file(whole, whole.bytes - back).seconds
    against = _against(wanted, lock, no_room)
    asked = wanted.mode == "compact"
    better = wanted.mode == "auto" and (against or lock > wanted.max_lock)
    if incremental and (asked or better):
        free = whole.bloat_bytes
        why = f"its free pages, {units.size(free)}, are cut off in small steps"
        return Choice(None, "compact", free, why)
    if against:
        return Choice(None, "plain", 0, f"{gives}, but {against}", left=back)
    return Choice(None, "full", back, gives)


def _against(wanted: Reclaim, lock: float, no_room: str) -> str:
    """Say why VACUUM is not taken; empty when nothing is against it.

    Args:
        wanted: what was asked for.
        lock: seconds for which it keeps everybody out.
        no_room: why it would not fit.
    """
    if wanted.mode == "full":
        return ""
    if wanted.mode == "rewrite":
        return "SQLite has only VACUUM: vacuum auto"
    if wanted.mode == "compact":
        return "it has no auto_vacuum, so that only VACUUM gives it back: vacuum auto"
    if lock > max(_WRITERS_WAIT, wanted.max_lock):
        return (
            f"VACUUM would keep the server's writers out for about {lock:.0f} s: when it is "
            "quiet, run once with prefect_maintenance_vacuum: full"
        )
    if lock > wanted.max_seconds:
        left = units.duration(wanted.max_seconds)
        return f"it would take about {units.duration(lock)}, and its window leaves {left}"
    return no_room
