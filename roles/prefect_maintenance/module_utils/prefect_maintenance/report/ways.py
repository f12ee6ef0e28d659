"""The ways in which the space of a table may come back, of a report as its JSON stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..units import size


def lines(report: Mapping[str, Any]) -> list[str]:
    """Show for each table what every way would take and why it is not taken; only of a check."""
    told = []
    for choice in worth_telling(report):
        told.append(f"    {choice['table']}: {choice['action']}")
        told += [f"      {way:<9}{what}" for way, what in _ways(choice)]
    return ["", "  ways to give the space back:", *told] if told else []


def markdown(report: Mapping[str, Any], plain: Callable[[str], str]) -> list[str]:
    """Show the same as lists of Markdown, under a title; `plain` keeps names from being markup."""
    told = []
    for choice in worth_telling(report):
        told.append(f"- {choice['table']}: {choice['action']}")
        told += [f"  - {way}: {plain(what)}" for way, what in _ways(choice)]
    return ["## Ways to give the space back", "", *told, ""] if told else []


def worth_telling(report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the choices between ways; where too little would come back, there is none."""
    if not report.get("check_mode"):
        return
    for choice in report.get("plan", {}).get("reclaim", ()):
        ways = choice.get("ways") or {}
        if any(cost["why_not"] != choice["why"] for cost in ways.values()):
            yield choice


def _ways(choice: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for way, cost in choice["ways"].items():
        takes = (
            f"about {cost['seconds']:,.1f} s, lock {1000 * cost['lock_seconds']:,.0f} ms, "
            f"WAL {size(cost['wal_bytes'])}, extra disk {size(cost['extra_bytes'])}"
        )
        yield way, f"{takes}; {cost['why_not'] or 'taken'}"
