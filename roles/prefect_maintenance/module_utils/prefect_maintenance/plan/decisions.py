"""Which way rows leave a table: decided from measurements alone, by the cost of each way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..measure.sizes import TableSize
from ..request.settings import Reclaim
from .choices import COPYING, REWRITING, Cost, choose, cost_of, estimate_of, extra_of, too_long
from .estimate import Estimate, of_deletes


@dataclass(frozen=True)
class Situation:
    """What is known of one table before its rows go.

    Attributes:
        size: the table as it was measured.
        goes: rows that go.
        ordered: how closely age follows the place on disk, from 0 to 1 (pg_stats.correlation).
        closed: by way ("delete" is one), why it is not open.
    """

    size: TableSize
    goes: int
    ordered: float
    closed: Mapping[str, str] = field(default_factory=dict)

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
        costs: of each way, and why it is not taken.
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
        wanted: what becomes of the space afterwards, and the longest lock.
    """
    costs = {
        "delete": _by_deletes(found, wanted),
        "rewrite": cost_of("rewrite", found.size, found.kept_bytes),
    }
    strategy, why = _strategy(found, asked, wanted, costs)
    gives_back = found.size.bytes - found.size.copy_bytes(found.goes)
    return Decision(
        found.size.name,
        strategy,
        f"{100 * found.share:.0f} % of the rows go; {why}",
        {way: cost if way == strategy else replace(cost, why_not=why)
         for way, cost in costs.items()},
        gives_back if strategy == "rewrite" else 0,
    )  # fmt: skip


def deletes(found: Situation, wanted: Reclaim) -> tuple[Estimate, str]:
    """Estimate purging a table by deletes; returns too how its space comes back afterwards."""
    after = choose(found.size, found.goes, wanted, found.closed).action
    rewritten = after in REWRITING
    return of_deletes(found.size, found.goes, found.ordered, rewritten=rewritten), after


def _strategy(
    found: Situation, asked: str, wanted: Reclaim, costs: Mapping[str, Cost]
) -> tuple[str, str]:
    """Return the way that is taken, and why that and not the other one."""
    if asked == "delete":
        return "delete", "purge_strategy is delete"
    if told := found.closed.get("rewrite") or too_long("rewrite", costs["rewrite"], wanted):
        return "delete", f"no rewrite: {told}"
    if asked == "rewrite":
        return "rewrite", "purge_strategy is rewrite"
    if lacking := found.closed.get("delete"):
        return "rewrite", f"no deletes: {lacking}"
    if choose(found.size, found.goes, wanted).action in COPYING:
        return "rewrite", "the space is to come back, and so what stays is copied once"
    if costs["rewrite"].seconds < costs["delete"].seconds:
        return "rewrite", "copying what stays takes less than deleting"
    return "delete", "deleting takes less than copying what stays"


def _by_deletes(found: Situation, wanted: Reclaim) -> Cost:
    deleted, after = deletes(found, wanted)
    back = estimate_of(after, found.size, found.kept_bytes)
    return Cost.of(deleted.joined(back), extra_of(after, found.size, found.kept_bytes))
