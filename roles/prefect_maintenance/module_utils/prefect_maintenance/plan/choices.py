"""Which way rows leave a table and how its space comes back: decided from measurements alone.

Pure functions, which compare the ways by what `estimate` says of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import units
from ..measure.sizes import TableSize
from ..request.settings import Reclaim
from .estimate import Estimate, of_deletes, of_full, of_rewrite

# What a reclaim may do that gives space back.
REWRITING = ("rewrite", "full", "repack", "compact")

# Bytes of a page of PostgreSQL.
_PAGE = 8192
# Free bytes that the maintenance itself and a live server leave between two runs.
_LEAST = 64 * 1024
# The share by which planner statistics may be wrong about what the rows of a table need.
_ESTIMATED = 0.1


@dataclass(frozen=True)
class Choice:
    """How the space of one table comes back, how much that should be, and why, in one sentence.

    Attributes:
        table: its name; nothing for the file of an SQLite database as a whole.
        action: what is done: none, plain, rewrite, full, repack, compact.
        gives_back: bytes that should come back.
        why: the reason.
    """

    table: str | None
    action: str
    gives_back: int
    why: str


@dataclass(frozen=True)
class Cost:
    """What a way takes until the rows are gone and the space is where it is wanted.

    Attributes:
        seconds: for the table, its reclaim included.
        wal_bytes: written to the WAL.
        extra_bytes: disk that is needed meanwhile, beside the WAL.
        lock_seconds: for which everybody is kept out of the table.
    """

    seconds: float
    wal_bytes: int
    extra_bytes: int
    lock_seconds: float


@dataclass(frozen=True)
class Situation:
    """What is known of one table before its rows go.

    Attributes:
        size: the table as it was measured.
        goes: rows that go.
        ordered: how closely age follows the place on disk, from 0 to 1 (pg_stats.correlation).
        obstacles: what keeps the table from being rewritten online.
    """

    size: TableSize
    goes: int
    ordered: float
    obstacles: tuple[str, ...]

    @property
    def share(self) -> float:
        """The share of the rows that goes."""
        return self.size.share(self.goes)

    @property
    def kept_bytes(self) -> int:
        """Bytes of what is kept, indexes included."""
        return self.size.kept_bytes(self.goes)


@dataclass(frozen=True)
class Decision:
    """How the rows of a table go, why, what each way would cost, and the bytes that come back.

    Attributes:
        table: its name.
        strategy: the way that is taken.
        why: the reason.
        costs: of each way.
        gives_back: bytes that come back with it.
    """

    table: str
    strategy: str
    why: str
    costs: Mapping[str, Cost]
    gives_back: int = 0


def decide(found: Situation, asked: str, wanted: Reclaim) -> Decision:
    """Decide how the rows of one table go.

    Args:
        found: the table.
        asked: "delete", "rewrite", or "auto" to choose.
        wanted: what becomes of the space afterwards.
    """
    costs = {"delete": _by_deletes(found, wanted), "rewrite": _by_rewrite(found)}
    strategy, why = _choose_strategy(found, asked, wanted, costs)
    gives_back = found.size.bytes - found.size.copy_bytes(found.goes)
    return Decision(
        found.size.name, strategy, why, costs, gives_back if strategy == "rewrite" else 0
    )


def choose(
    size: TableSize,
    deleted: int,
    wanted: Reclaim,
    obstacles: tuple[str, ...],
    *,
    exact: bool = False,
) -> Choice:
    """Decide how the space of one table comes back.

    Whatever the thresholds, nothing is rewritten for less than the measurement can tell: the
    next run would measure the same and rewrite again.

    Args:
        size: the table as it is now.
        deleted: rows that are still counted in `size` but will be gone.
        wanted: mode and thresholds.
        obstacles: what keeps the table from being rewritten online.
        exact: its free bytes were counted, not estimated.
    """
    share = size.share(deleted)
    free = size.bloat_bytes + int(share * (size.bytes - size.bloat_bytes))
    percent = 100 * free / size.bytes if size.bytes else 0.0
    if wanted.mode in ("none", "plain"):
        return Choice(size.name, wanted.mode, 0, f"vacuum is {wanted.mode}")
    if unmet := _unmet(free, percent, wanted):
        would = f"a rewrite would give back {units.size(free)}, {percent:.0f} % of it"
        return Choice(size.name, "plain", 0, f"{would}: less than {unmet}")
    unsure = _LEAST if exact else _unsure(size, size.bytes - free)
    if free < unsure:
        return Choice(
            size.name,
            "plain",
            0,
            f"a rewrite would give back {units.size(free)}: no more than the measurement may be "
            f"wrong by ({units.size(unsure)})",
        )
    back = size.bytes - size.copy_bytes(deleted)
    gives = f"a rewrite gives back {units.size(back)}, {100 * back / size.bytes:.0f} % of it"
    if wanted.mode != "full" and not obstacles:
        return Choice(size.name, "rewrite", back, gives)
    if wanted.mode == "rewrite":
        return Choice(
            size.name, "plain", 0, f"{gives}, but not without a long lock: {obstacles[0]}"
        )
    if wanted.mode == "repack":
        return Choice(size.name, "repack", back, gives)
    return Choice(size.name, "full", back, gives)


def _unmet(free: int, percent: float, wanted: Reclaim) -> str:
    """Name the thresholds that a rewrite would not reach; empty when it reaches both."""
    unmet = []
    if free < wanted.min_bytes:
        unmet.append(f"vacuum_min_bytes ({units.size(wanted.min_bytes)})")
    if percent < wanted.min_percent:
        unmet.append(f"vacuum_min_percent ({wanted.min_percent} %)")
    return " and ".join(unmet)


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


def _choose_strategy(
    found: Situation, asked: str, wanted: Reclaim, costs: Mapping[str, Cost]
) -> tuple[str, str]:
    share = f"{100 * found.share:.0f} % of the rows go"
    if asked == "delete":
        return "delete", f"{share}; purge_strategy is delete"
    if found.obstacles:
        return "delete", f"{share}; no rewrite: {'; '.join(found.obstacles)}"
    if asked == "rewrite":
        return "rewrite", f"{share}; purge_strategy is rewrite"
    if choose(found.size, found.goes, wanted, ()).action in REWRITING:
        return "rewrite", f"{share} and the space is to come back: what stays is copied once"
    if costs["rewrite"].seconds < costs["delete"].seconds:
        return "rewrite", f"{share}: copying what stays takes less than deleting"
    return "delete", f"{share}: deleting takes less than copying what stays"


def deletes(found: Situation, wanted: Reclaim) -> tuple[Estimate, str]:
    """Estimate purging a table by deletes; returns too how its space comes back afterwards."""
    after = choose(found.size, found.goes, wanted, found.obstacles).action
    rewritten = after in REWRITING
    return of_deletes(found.size, found.goes, found.ordered, rewritten=rewritten), after


def _by_deletes(found: Situation, wanted: Reclaim) -> Cost:
    deleted, after = deletes(found, wanted)
    if after not in REWRITING:
        return _cost(deleted, 0)
    copy = of_full if after == "full" else of_rewrite
    return _cost(deleted.joined(copy(found.size, found.kept_bytes)), found.kept_bytes)


def _by_rewrite(found: Situation) -> Cost:
    return _cost(of_rewrite(found.size, found.kept_bytes), found.kept_bytes)


def _cost(estimate: Estimate, extra_bytes: int) -> Cost:
    return Cost(
        seconds=estimate.seconds,
        wal_bytes=estimate.wal_bytes,
        extra_bytes=extra_bytes,
        lock_seconds=estimate.lock_ms / 1000,
    )
