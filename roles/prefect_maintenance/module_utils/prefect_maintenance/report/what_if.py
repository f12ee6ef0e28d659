"""What would go with a policy, of a report as its JSON stands, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..units import count, size

_HEADS = ("Entity", "Table", "Rows", "Bytes", "Share")


@dataclass(frozen=True)
class Row:
    """What would go of a table, of an entity, or in all, as it is shown."""

    entity: str
    table: str
    rows: str
    bytes: str
    share: str


def title(report: Mapping[str, Any]) -> str:
    """Say what the rows are and how they were found; nothing where nobody asked for them."""
    found = report.get("what_if")
    if not found:
        return ""
    if not any(one["rows"] for one in found):
        return "nothing would go with this policy" + _how(report)
    return "what would go with this policy" + _how(report)


def _how(report: Mapping[str, Any]) -> str:
    if all(one["exact"] for one in report["what_if"]):
        return ", counted"
    return ", estimated from statistics and samples; --check counts it"


def rows(report: Mapping[str, Any]) -> list[Row]:
    """Return what would go of each table, entity by entity, and in all; nothing where none does."""
    goes = [one for one in report.get("what_if") or () if one["rows"]]
    order = list(dict.fromkeys(one["entity"] for one in goes))
    goes.sort(key=lambda one: order.index(one["entity"]))
    if not goes:
        return []
    seen, found = "", []
    for one in goes:
        entity = "" if one["entity"] == seen else one["entity"].replace("_", " ")
        seen = one["entity"]
        share = f"{100 * one['share']:.0f} %" if one["share"] >= 0.005 else "<1 %"
        found.append(Row(entity, one["table"], *_shown(one["rows"], one["bytes"]), share))
    total = _shown(sum(one["rows"] for one in goes), sum(one["bytes"] for one in goes))
    return [*found, Row("in all", "", *total, "")]


def _shown(gone: int, taken: int) -> tuple[str, str]:
    return count(gone), size(taken)


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Show it on a screen, after an empty line."""
    told = title(report)
    if not told:
        return
    found = rows(report)
    yield from ("", f"  {told}{':' if found else ''}")
    for row in (Row(*(head.lower() for head in _HEADS)), *found) if found else ():
        yield (
            f"    {row.entity:<14}{row.table:<20}{row.rows:>13}{row.bytes:>13}{row.share:>8}"
        ).rstrip()


def markdown(report: Mapping[str, Any], plain: Callable[[str], str]) -> list[str]:
    """Show it as a table of Markdown, under a title."""
    told, found = title(report), rows(report)
    if not found:
        return []
    return [
        f"## {plain(told[0].upper() + told[1:])}",
        "",
        f"| {' | '.join(_HEADS)} |",
        "|:--|:--|--:|--:|--:|",
        *(
            f"| {plain(r.entity)} | {plain(r.table)} | {r.rows} | {r.bytes} | {r.share} |"
            for r in found
        ),
        "",
    ]
