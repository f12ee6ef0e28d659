"""What the report says of one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..catalogue import TABLES
from ..events import TableDone
from ..measure.growth import Growth
from ..measure.sizes import TableSize
from ..plan.decisions import Decision
from ..request.instants import iso

# Counted in every report, also when nothing of them went.
DELETED = tuple(
    table.name
    for way in ("api", "sql")
    for table in TABLES
    if table.deleted_by == way and table.entity
)
# What follows the name of a way in a check.
PLANNED = " (planned)"

# The first measurement stands for all later moments until they are measured too.
_LATER = {
    "before": ("before", "after_delete", "after"),
    "after_delete": ("after_delete", "after"),
    "after": ("after",),
}


@dataclass(frozen=True)
class TableReport:
    """One table through the run: before, after the deletion, after the reclaim.

    None stands for what was not measured. What it took includes the reclaim. On SQLite the bytes
    that a table gives back are its file's, until that is rewritten.

    Attributes:
        name: of the table.
        rows_before: live rows before anything went.
        rows_after_delete: live rows once the deletion was done.
        rows_after: live rows at the end.
        rows_method: how rows were found: counted, or estimated.
        bytes_before: heap, TOAST and indexes before anything went.
        bytes_after_delete: the same once the deletion was done.
        bytes_after: the same at the end.
        heap_bytes: of `bytes_after`, the table itself.
        toast_bytes: of `bytes_after`, long values.
        index_bytes: of `bytes_after`, the indexes.
        dead_before: dead tuples before anything went.
        dead_after_delete: dead tuples once the deletion was done.
        dead_after: dead tuples at the end.
        bloat_bytes: of `bytes_after`, what live rows do not need.
        bloat_percent: the same as a share.
        bloat_method: how bloat was found: exactly, or estimated and from what.
        oldest_after: the oldest row that is left.
        oldest_due: the oldest row that should have gone; None when there is none.
        cutoff: the instant before which rows may go.
        strategy: the way that was taken for the table itself, before what was left over or went
            with rows of other tables.
        ways: rows that went in each way.
        strategy_why: why that way.
        estimates: for each way of purging, what it would take.
        estimate: what comes back and what all the work on the table takes, as it was planned.
        reclaim: how space came back; "none" also where that failed.
        reclaim_why: why that way, or why not.
        seconds: that it took.
        wal_bytes: WAL that the whole server wrote meanwhile.
        extra_bytes: disk that was needed meanwhile.
        lock_ms_max: milliseconds for which everybody was kept out at most.
        error: why it failed.
        rows_per_day: that came lately; None where that is not known.
        bytes_per_day: that they took, with their share of indexes and TOAST.
        growth_method: how that was found out.
    """

    name: str
    rows_before: int | None = None
    rows_after_delete: int | None = None
    rows_after: int | None = None
    rows_method: str = ""
    bytes_before: int | None = None
    bytes_after_delete: int | None = None
    bytes_after: int | None = None
    heap_bytes: int | None = None
    toast_bytes: int | None = None
    index_bytes: int | None = None
    dead_before: int | None = None
    dead_after_delete: int | None = None
    dead_after: int | None = None
    bloat_bytes: int | None = None
    bloat_percent: float | None = None
    bloat_method: str = ""
    oldest_after: str | None = None
    oldest_due: str | None = None
    cutoff: str | None = None
    strategy: str = "none"
    ways: Mapping[str, int] = field(default_factory=dict)
    strategy_why: str = ""
    estimates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    estimate: Mapping[str, Any] = field(default_factory=dict)
    reclaim: str = "none"
    reclaim_why: str = ""
    seconds: float = 0.0
    wal_bytes: int = 0
    extra_bytes: int = 0
    lock_ms_max: int = 0
    error: str | None = None
    rows_per_day: float | None = None
    bytes_per_day: int | None = None
    growth_method: str = ""

    def measured(self, moment: str, size: TableSize) -> TableReport:
        """Note the size at a moment: "before", "after_delete" or "after"."""
        changes: dict[str, Any] = {
            f"{what}_{when}": value
            for when in _LATER[moment]
            for what, value in (("rows", size.rows), ("bytes", size.bytes), ("dead", size.dead))
        }
        oldest = iso(size.oldest) if size.oldest else None
        return replace(
            self,
            **changes,
            rows_method=size.rows_method,
            heap_bytes=size.heap_bytes,
            toast_bytes=size.toast_bytes,
            index_bytes=size.index_bytes,
            bloat_bytes=size.bloat_bytes,
            bloat_percent=round(100 * size.bloat_bytes / size.bytes, 1) if size.bytes else 0.0,
            bloat_method=size.bloat_method,
            oldest_after=oldest if size.ages else self.oldest_after,
        )

    def grown(self, growth: Growth) -> TableReport:
        """Note what comes to it in a day."""
        return replace(
            self,
            rows_per_day=round(growth.rows, 1),
            bytes_per_day=None if growth.bytes is None else int(growth.bytes),
            growth_method=growth.method,
        )

    def counted(self, ways: Mapping[str, int], *, check: bool) -> TableReport:
        """Add rows that left, or would, to those that earlier steps counted."""
        counted = dict(self.ways)
        for way, rows in ways.items():
            if rows:
                counted[way] = counted.get(way, 0) + rows
        if not counted:
            return self
        # What went with others comes last.
        ordered = {way: counted[way] for way in sorted(counted, key=lambda way: way == "cascade")}
        first = "api and sql" if {"api", "sql"} <= set(counted) else next(iter(ordered))
        return replace(self, strategy=first + (PLANNED if check else ""), ways=ordered)

    def done(self, event: TableDone, *, check: bool) -> TableReport:
        """Add how rows left, or the space came back, and what that took."""
        return replace(
            self.counted(event.ways, check=check),
            seconds=round(self.seconds + event.seconds, 3),
            wal_bytes=self.wal_bytes + event.wal_bytes,
            error=event.error or self.error,
        )

    def decided(self, decision: Decision) -> TableReport:
        """Note how its rows go, why, and what each way would take."""
        estimates = {
            way: {
                "seconds": round(cost.seconds, 2),
                "wal_bytes": cost.wal_bytes,
                "extra_bytes": cost.extra_bytes,
                "lock_ms": int(1000 * cost.lock_seconds),
            }
            for way, cost in decision.costs.items()
        }
        return replace(self, strategy_why=decision.why, estimates=estimates)

    def rewritten(self, lock_seconds: float, extra_bytes: int) -> TableReport:
        """Note for how long everybody was kept out, and the disk that was needed."""
        return replace(
            self,
            lock_ms_max=max(self.lock_ms_max, math.ceil(1000 * lock_seconds)),
            extra_bytes=max(self.extra_bytes, extra_bytes),
        )
