"""What the database settles at and when its disk is full, with what comes to it in a day.

All of it is a function of the report as its JSON stands. What is not known there is not known
here either: a report of an earlier version gives a forecast of nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..catalogue import BY_NAME, FLOW_RUN, Table
from ..units import size

# Nobody knows what a server writes in ten years.
_HORIZON = 3650

Days = Mapping[str, int]
Report = Mapping[str, Any]


@dataclass(frozen=True)
class _Growing:
    """A table that grows.

    Attributes:
        table: in the catalogue.
        live: bytes that its rows take.
        file: bytes that it has on disk.
        rows_per_day: that come.
        bytes_per_day: that come.
    """

    table: Table
    live: int
    file: int
    rows_per_day: float
    bytes_per_day: float

    def settles(self, days: Days) -> float | None:
        """Return the bytes it settles at under a policy; None when nothing ever leaves it."""
        kept = days_kept(self.table, days)
        return None if kept is None else kept * self.bytes_per_day

    def more(self, after: int, days: Days | None) -> float:
        """Return the disk that it takes more after so many days, under a policy or under none.

        What is free in its file is used first.
        """
        grown = self.live + after * self.bytes_per_day
        settled = self.settles(days) if days else None
        if settled is not None:
            grown = min(grown, max(settled, self.live))
        return max(0.0, grown - self.file)


def _entity(table: Table) -> str | None:
    """Return the entity of the policy that decides about the rows of a table."""
    return _entity(BY_NAME[table.goes_with]) if table.goes_with else table.entity


def days_kept(table: Table, days: Days) -> int | None:
    """Return for how long a policy keeps the rows of a table; None where it does not speak of them.

    What goes with its flow run is not kept longer than this.
    """
    if table.goes_with:
        return days_kept(BY_NAME[table.goes_with], days)
    if table.entity is None:
        return None
    own = days[table.entity]
    run = FLOW_RUN.entity
    goes_along = run and not table.outlives and any(p.table == FLOW_RUN.name for p in table.parents)
    return min(own, days[run]) if run and goes_along else own


def forecast(report: Report) -> dict[str, Any]:
    """Return the forecast of a report, as it stands in its JSON."""
    known = report.get("forecast") or {}
    told: dict[str, Any] = {
        "days_measured": known.get("days_measured"),
        "rows_per_day": None,
        "bytes_per_day": None,
        "settles_at_bytes": None,
        "disk": known.get("disk"),
        "days_until_full": None,
        "days_until_full_without": None,
        "suggestion": None,
        "makers": known.get("makers") or {"flows": [], "event_types": []},
    }
    growing, days = _growing(report), (report.get("policy") or {}).get("retention_days")
    if growing is None or not days:
        return told
    rest = _rest(report)
    told |= {
        "rows_per_day": round(sum(one.rows_per_day for one in growing), 1),
        "bytes_per_day": int(sum(one.bytes_per_day for one in growing)),
        "settles_at_bytes": _whole(growing, rest, days),
        "suggestion": _suggestion(growing, rest, days),
    }
    if disk := told["disk"]:
        free = disk["free_bytes"] + _given_back(report) + _free_in_file(report)
        told["days_until_full"] = _until_full(growing, free, days)
        told["days_until_full_without"] = _until_full(growing, free, None)
    return told


def settled(table: Mapping[str, Any], days: Days) -> dict[str, int | None]:
    """Return rows and bytes that a table of a report settles at, as they stand in its JSON."""
    kept = days_kept(BY_NAME[table["name"]], days) if table["name"] in BY_NAME else None
    rows, size = table.get("rows_per_day"), table.get("bytes_per_day")
    return {
        "settles_rows": None if kept is None or rows is None else round(kept * rows),
        "settles_bytes": None if kept is None or size is None else int(kept * size),
    }


def _growing(report: Report) -> list[_Growing] | None:
    """Return the tables with what comes to them; None when it is not known of all of them."""
    found = []
    for table in report.get("tables") or ():
        now = table.get("bytes_after")
        if table["name"] not in BY_NAME or now is None:
            continue
        if table.get("rows_per_day") is None or table.get("bytes_per_day") is None:
            return None
        found.append(
            _Growing(
                table=BY_NAME[table["name"]],
                live=now - (table.get("bloat_bytes") or 0),
                file=now,
                rows_per_day=table["rows_per_day"],
                bytes_per_day=table["bytes_per_day"],
            )
        )
    return found or None


def _rest(report: Report) -> int:
    """Return the bytes of the database that are of no table which is kept lean."""
    tables = sum(table.get("bytes_after") or 0 for table in report["tables"])
    return max(0, (report["database"].get("bytes_after") or 0) - tables - _free_in_file(report))


def _given_back(report: Report) -> int:
    """Return the bytes by which the database became smaller since its disk was looked at."""
    database = report["database"]
    after = database.get("bytes_after") or 0
    return (database.get("bytes_before") or after) - after


def _free_in_file(report: Report) -> int:
    """Return the bytes of free pages that any table of an SQLite file may take."""
    return report["database"].get("free_bytes") or 0


def _whole(growing: Iterable[_Growing], rest: int, days: Days) -> int:
    """Return the bytes that the database settles at; what never leaves counts as it is."""
    found = float(rest)
    for one in growing:
        settles = one.settles(days)
        found += one.live if settles is None else settles
    return int(found)


def _until_full(growing: Iterable[_Growing], free: int, days: Days | None) -> int | None:
    """Return the whole days for which the free bytes suffice; None when for longer than we say."""
    tables = list(growing)

    def full(after: int) -> bool:
        return sum(one.more(after, days) for one in tables) > free

    first = bisect_left(range(_HORIZON + 1), True, key=full)
    return None if first > _HORIZON else max(0, first - 1)


def _suggestion(growing: Iterable[_Growing], rest: int, days: Days) -> dict[str, Any] | None:
    """Return the longest retention that halves what the database settles at, if one does."""
    whole = partial(_whole, growing, rest)
    half = whole(days) / 2
    weights = dict.fromkeys(days, 0.0)
    for one in growing:
        if entity := _entity(one.table):
            weights[entity] += one.settles(days) or 0.0
    heaviest = max(weights, key=lambda entity: weights[entity])
    for entities in ((heaviest,), tuple(days)):
        if most := _longest(entities, whole, days, half):
            settles = whole(_shortened(days, entities, most))
            single = len(entities) == 1
            variable = f"prefect_maintenance_retention{'' if single else '_days'}"
            shown = f"{{{heaviest}: {most}}}" if single else str(most)
            return {
                "variable": variable,
                "value": {heaviest: most} if single else most,
                "settles_at_bytes": settles,
                "text": f"with {variable}: {shown} it would settle at {size(settles)}",
            }
    return None


def _shortened(days: Days, entities: Iterable[str], most: int) -> Days:
    return {**days, **{name: min(days[name], most) for name in entities}}


def _longest(
    entities: Iterable[str], whole: Callable[[Days], int], days: Days, most_bytes: float
) -> int:
    """Return the most days for which the entities may be kept to settle at so little; 0: none."""

    def too_long(most: int) -> bool:
        return whole(_shortened(days, entities, most)) > most_bytes

    # The list begins at one day, so the place in it is the number of days before it.
    return bisect_left(range(1, max(days.values()) + 1), True, key=too_long)
