"""How the tables stand beside their size: what VACUUM waits for, indexes, autovacuum; for people.

Of a report as its JSON stands, which one of an earlier version writes without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..units import size


def sections(report: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return a title and lines for each thing that there is something to say of."""
    blockers = [f"{one['text']}; {one['do']}" for one in report.get("blockers") or ()]
    found = [("Keeps VACUUM from its work", blockers)] if blockers else []
    return [*found, *of_tables(report)]


def of_tables(report: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the sections on single tables: their indexes, and settings of autovacuum."""
    indexes = [_index(one) for one in report.get("indexes") or ()]
    settings = report.get("autovacuum") or ()
    done = _settings(one for one in settings if one["set"])
    better = _settings(one for one in settings if not one["set"])
    found = (
        ("Indexes that are INVALID or bloated", indexes),
        ("Autovacuum, as it was set now", done),
        ("Autovacuum that would keep tables smaller; tune_autovacuum sets it", better),
    )
    return [(title, told) for title, told in found if told]


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Show the sections on a screen, each after an empty line and its title."""
    for title, told in sections(report):
        yield from ("", f"  {title[0].lower()}{title[1:]}:", *(f"    {line}" for line in told))


def _index(one: Mapping[str, Any]) -> str:
    back = f", {size(one['bytes_back'])}" if one["bytes_back"] else ""
    came = "came back" if one["done"] else "would come back"
    done = "mended; " if one["done"] else ""
    named = f"{one['table']}: {one['index']} ({size(one['bytes'])}) is {one['problem']}"
    return f"{named}{f'{back} {came}' if back else ''}; {done}{one['why']}".rstrip("; ")


def _settings(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say each setting once, with all tables of which the same is to be said."""
    tables: dict[str, list[str]] = {}
    for one in found:
        tables.setdefault(_setting(one), []).append(one["table"] or "the server")
    return [f"{', '.join(whose)}: {told}" for told, whose in tables.items()]


def _setting(one: Mapping[str, Any]) -> str:
    if one["set"]:
        return f"{one['setting']} {one['suggested']}, before {one['now']}"
    return f"{one['setting']} {one['suggested']} instead of {one['now']}: {one['why']}"
