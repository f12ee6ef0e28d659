"""What comes to the tables in a day, and where that leads, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..units import count, size


def growth_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the lines on growth and forecast of a report, as its JSON stands; none without."""
    told = report.get("forecast") or {}
    grown = [t for t in report.get("tables", ()) if t.get("rows_per_day") is not None]
    if not grown:
        return []
    heading = "table             rows a day   size a day      settles at  how it was found"
    lines = ["", f"  {heading}"]
    lines += [
        f"  {t['name']:<20}{_rows(t['rows_per_day']):>8}{size(t['bytes_per_day']):>13}"
        f"{_settles(t):>16}  {t['growth_method']}"
        for t in grown
    ]
    if told.get("settles_at_bytes") is not None:
        lines.append(
            f"  {'whole database':<20}{_rows(told['rows_per_day']):>8}"
            f"{size(told['bytes_per_day']):>13}{size(told['settles_at_bytes']):>16}"
        )
    if told.get("disk"):
        lines.append(f"  {_disk(told)}")
    if told.get("suggestion"):
        lines.append(f"  to halve that: {told['suggestion']['text']}")
    return lines


def event_lines(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each type of event of which there are the most."""
    types = ((report.get("forecast") or {}).get("makers") or {}).get("event_types") or ()
    return [f"    {one['event']!s:<52}{count(one['rows']):>9} events" for one in types]


def _rows(rows: float) -> str:
    return count(round(rows)) if rows >= 1 or not rows else "below 1"


def _settles(table: Mapping[str, Any]) -> str:
    settles = table.get("settles_bytes")
    return "nothing deletes" if settles is None else size(settles)


def _disk(told: Mapping[str, Any]) -> str:
    disk = told["disk"]
    free = f"{size(disk['free_bytes'])} of {size(disk['total_bytes'])} are free"
    with_it, without = _full(told["days_until_full"]), _full(told["days_until_full_without"])
    return (
        f"disk: {free} at {disk['path']} ({disk['where']}); full {with_it} with this policy, "
        f"{without} without"
    )


def _full(days: int | None) -> str:
    return "not within ten years" if days is None else f"in {count(days)} days"
