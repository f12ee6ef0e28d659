"""How the space of a table comes back: decided from measurements alone.

Pure functions, which compare the ways by what `estimate` says of each. No way is taken whose lock
is estimated to last longer than `max_lock`, but VACUUM FULL where it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from .. import units
from ..measure.sizes import TableSize
from ..request.settings import Reclaim
from .estimate import Estimate, of_compaction, of_full, of_rewrite

# What a reclaim may do that gives space back.
REWRITING = ("rewrite", "full", "repack", "compact")
# Those of them that write what is kept a second time.
COPYING = ("rewrite", "full", "repack")

# The ways that a mode may take, the most wanted first.
_OPEN = {
    "auto": ("rewrite", "full", "compact"),
    "repack": ("rewrite", "repack", "compact"),
    "rewrite": ("rewrite",),
    "full": ("full",),
    "compact": ("compact",),
}
# Why a way is not taken when a more wanted one is open.
_LESS_WANTED = {
    "full": "a rewrite keeps everybody out for some milliseconds only",
    "repack": "a rewrite needs no extension",
    "compact": "it takes longer and writes more WAL",
}
# Seconds of a lock that nobody notices.
UNNOTICED = 0.1
# Bytes of a page of PostgreSQL.
_PAGE = 8192
# Free bytes that the maintenance itself and a live server leave between two runs.
_LEAST = 64 * 1024
# The share by which planner statistics may be wrong about what the rows of a table need.
_ESTIMATED = 0.1

ALL_OPEN: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Cost:
    """What a way takes until the space is where it is wanted, and why it is not taken.

    Attributes:
        seconds: for the table; of a purge, its reclaim included.
        wal_bytes: written to the WAL.
        extra_bytes: disk that is needed meanwhile, beside the WAL.
        lock_seconds: for which everybody is kept out of the table.
        why_not: the reason; empty for the way that is taken.
    """

    seconds: float
    wal_bytes: int
    extra_bytes: int
    lock_seconds: float
    why_not: str = ""

    @classmethod
    def of(cls, estimate: Estimate, extra_bytes: int) -> Cost:
        """Return what a way costs by its estimate and the disk that it needs meanwhile."""
        return cls(estimate.seconds, estimate.wal_bytes, extra_bytes, estimate.lock_ms / 1000)


@dataclass(frozen=True)
class Choice:
    """How the space of one table comes back, how much that should be, and why, in one sentence.

    Attributes:
        table: its name; nothing for the file of an SQLite database as a whole.
        action: what is done: none, plain, rewrite, full, repack, compact.
        gives_back: bytes that should come back.
        why: the reason.
        ways: what each way would take, and why it is not taken.
        left: bytes that would come back if a way were open.
        otherwise: what is done when a copy turns out not to fit or to lock the table for too long.
    """

    table: str | None
    action: str
    gives_back: int
    why: str
    ways: Mapping[str, Cost] = field(default_factory=dict)
    left: int = 0
    otherwise: str = "plain"


def choose(
    size: TableSize,
    deleted: int,
    wanted: Reclaim,
    closed: Mapping[str, str] = ALL_OPEN,
) -> Choice:
    """Decide how the space of one table comes back.

    Whatever the thresholds, nothing is rewritten for less than the measurement can tell: the
    next run would measure the same and rewrite again.

    Args:
        size: the table as it is now.
        deleted: rows that are still counted in `size` but will be gone.
        wanted: mode, thresholds and the longest lock.
        closed: by way, why it is not open.
    """
    if wanted.mode in ("none", "plain"):
        return Choice(size.name, wanted.mode, 0, f"vacuum is {wanted.mode}")
    kept = size.copy_bytes(deleted)
    names = [n for n in REWRITING if n != "repack" or wanted.mode == "repack"]
    costs = {name: cost_of(name, size, kept) for name in names}
    free = size.free_bytes(deleted)
    if little := too_little(size, free, wanted):
        return Choice(size.name, "plain", 0, little, _refused(costs, dict.fromkeys(costs, little)))
    against = {
        name: closed.get(name) or too_long(name, cost, wanted) for name, cost in costs.items()
    }
    against["compact"] = against["compact"] or too_little(
        size, int(free * size.share_without_toast), wanted
    )
    back = size.bytes - kept
    gives = f"a rewrite gives back {units.size(back)}, {100 * back / size.bytes:.0f} % of it"
    may = [name for name in _OPEN[wanted.mode] if not against[name]]
    told = _told(against, wanted)
    if not may:
        because = "; ".join(f"{name}: {against[name]}" for name in _OPEN[wanted.mode])
        why = f"{gives}, but no way is open: {because}{_another(against)}"
        return Choice(size.name, "plain", 0, why, _refused(costs, told), back)
    if {"full", "compact"} <= set(may) and costs["full"].lock_seconds > full_at_most(wanted):
        may = [*(name for name in may if name != "full"), "full"]
        told["full"] = _noticed(costs["full"], wanted)
    taken = may[0]
    if taken == "compact":
        back = int(back * size.share_without_toast)
        gives = f"compaction gives back {units.size(back)}, {100 * back / size.bytes:.0f} % of it"
        if size.toast_bytes > _LEAST:
            gives += f"; {units.size(size.toast_bytes)} of long values stay where they are"
    return Choice(
        size.name,
        taken,
        back,
        gives + _named(costs[taken], wanted),
        _refused(costs, {**told, taken: ""}),
        otherwise="compact" if "compact" in may[1:] else "plain",
    )


def full_at_most(wanted: Reclaim) -> float:
    """Return the seconds for which VACUUM FULL may lock a table that could be compacted instead.

    Whoever allows more than the default wants the way that is done sooner.
    """
    raised = wanted.max_lock > Reclaim.max_lock
    return wanted.max_lock if raised else min(UNNOTICED, wanted.max_lock)


def cost_of(way: str, size: TableSize, kept_bytes: int) -> Cost:
    """Return what a way to give space back takes on a table of which so many bytes are kept."""
    return Cost.of(estimate_of(way, size, kept_bytes), extra_of(way, size, kept_bytes))


def estimate_of(way: str, size: TableSize, kept_bytes: int) -> Estimate:
    """Estimate a way to give space back, of which VACUUM counts with the deletion."""
    if way == "full":
        return of_full(size, kept_bytes)
    if way == "compact":
        return of_compaction(size, kept_bytes)
    return of_rewrite(size, kept_bytes) if way in COPYING else Estimate()


def extra_of(way: str, size: TableSize, kept_bytes: int) -> int:
    """Return the disk that a way needs meanwhile: a compaction builds one index at a time."""
    if way in COPYING:
        return kept_bytes
    largest = size.largest_index_bytes / size.bytes if size.bytes else 0.0
    return int(kept_bytes * largest) if way == "compact" else 0


def too_long(way: str, cost: Cost, wanted: Reclaim) -> str:
    """Say that a way takes, or keeps everybody out, for longer than allowed; empty if it does not.

    What copies a table has done nothing before its end.
    """
    if way in COPYING and cost.seconds > wanted.max_seconds:
        left = units.duration(wanted.max_seconds)
        return f"it would take about {units.duration(cost.seconds)}, and its window leaves {left}"
    if cost.lock_seconds <= wanted.max_lock or way == wanted.mode == "full":
        return ""
    return (
        f"its lock would last about {cost.lock_seconds:,.3g} s, max_lock is {wanted.max_lock:g} s"
    )


def _noticed(cost: Cost, wanted: Reclaim) -> str:
    return (
        f"its lock would last about {cost.lock_seconds:,.3g} s, and a compaction is open: it is "
        f"taken for up to {full_at_most(wanted):g} s, or longer where max_lock is raised"
    )


def _another(against: Mapping[str, str]) -> str:
    """Name the way that would be open if it were asked for; empty without one."""
    others = [name for name in ("rewrite", "compact") if not against[name]]
    return f"; vacuum: {others[0]} would be open" if others else ""


def _named(cost: Cost, wanted: Reclaim) -> str:
    """Say how long the lock is that was asked for by name although it is longer than allowed."""
    if cost.lock_seconds <= wanted.max_lock:
        return ""
    return (
        f"; asked for by name, so it may keep everybody out for about {cost.lock_seconds:,.3g} s "
        f"although max_lock is {wanted.max_lock:g} s"
    )


def _told(against: Mapping[str, str], wanted: Reclaim) -> dict[str, str]:
    """Say of every way why it is not taken when another one is."""
    return {
        name: why
        or (
            _LESS_WANTED.get(name, "") if name in _OPEN[wanted.mode] else f"vacuum is {wanted.mode}"
        )
        for name, why in against.items()
    }


def _refused(costs: Mapping[str, Cost], why: Mapping[str, str]) -> dict[str, Cost]:
    return {name: replace(cost, why_not=why[name]) for name, cost in costs.items()}


def too_little(size: TableSize, free: int, wanted: Reclaim, *, exact: bool = False) -> str:
    """Say why too little would come back to be worth it; empty when enough does."""
    percent = 100 * free / size.bytes if size.bytes else 0.0
    would = f"a rewrite would give back {units.size(free)}"
    unmet = []
    if free < wanted.min_bytes:
        unmet.append(f"vacuum_min_bytes ({units.size(wanted.min_bytes)})")
    if percent < wanted.min_percent:
        unmet.append(f"vacuum_min_percent ({wanted.min_percent} %)")
    if unmet:
        return f"{would}, {percent:.0f} % of it: less than {' and '.join(unmet)}"
    unsure = _LEAST if exact else _unsure(size, size.bytes - free)
    if free < unsure:
        may = f"no more than the measurement may be wrong by ({units.size(unsure)})"
        return f"{would}: {may}"
    return ""


def _unsure(size: TableSize, needed: int) -> int:
    """Return the bytes by which the free space of a table may be overestimated.

    Args:
        size: the table as it is now.
        needed: bytes that a rewrite would leave of it.

    """
    # A fresh copy has free bytes too: a row that does not fit leaves the end of its page empty.
    # Larger rows than a quarter of a page are stored out of line (PostgreSQL manual, TOAST).
    used = size.bytes - size.bloat_bytes
    row = used * size.heap_bytes / size.bytes / size.rows if size.rows and size.bytes else 0.0
    return max(_LEAST, int(needed * (min(0.25, row / _PAGE) + _ESTIMATED)))
