"""How the space of an SQLite file comes back: decided from measurements alone."""

from __future__ import annotations

from dataclasses import replace

from .. import units
from ..measure.sizes import TableSize
from ..request.settings import Reclaim
from .choices import Choice, choose
from .estimate import of_file

# Prefect's writers wait for a minute before they give up, and an estimate may be wrong by half.
_WRITERS_WAIT = 30.0
_MODES = ("auto", "full", "compact")


def choose_file(
    whole: TableSize, wanted: Reclaim, *, exact: bool, incremental: bool, no_room: str | None
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
    thresholds = replace(wanted, mode="full") if wanted.mode in _MODES else wanted
    found = choose(whole, 0, thresholds, ("SQLite has only VACUUM",), exact=exact)
    if found.action != "full" or wanted.mode == "full":
        return found
    lock = of_file(whole, whole.bytes - found.gives_back).seconds
    free = units.size(whole.bloat_bytes)
    if wanted.mode == "compact" and not incremental:
        return _left(whole, f"its free pages take {free}, but it has no auto_vacuum: vacuum it")
    if incremental and (wanted.mode == "compact" or no_room or lock > wanted.max_lock):
        why = f"its free pages, {free}, are cut off in small steps"
        return Choice(whole.name, "compact", whole.bloat_bytes, why)
    if lock > max(_WRITERS_WAIT, wanted.max_lock):
        return _left(
            whole,
            f"{found.why}, but would keep the server's writers out for about {lock:.0f} s: "
            "when it is quiet, run once with prefect_maintenance_vacuum: full",
        )
    return found


def _left(whole: TableSize, why: str) -> Choice:
    return Choice(whole.name, "plain", 0, why)
