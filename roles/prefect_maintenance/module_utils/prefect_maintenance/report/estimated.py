"""What was estimated beside what was measured, and why rows go, of a report as its JSON stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..plan.estimate import Estimate
from ..units import count, size
from .costs import took

_WHOLE = "whole database"
# Unless each is long, eight of these columns and the name stand on one screen.
_NAME, _WIDTH = 20, 12


@dataclass(frozen=True)
class Row:
    """One table, or the whole database: bytes that come back, seconds, WAL and the longest lock.

    Attributes:
        estimated: before; "-" where nothing was.
        measured: afterwards; nothing in a check.
    """

    name: str
    estimated: tuple[str, ...]
    measured: tuple[str, ...]


def rows(report: Mapping[str, Any]) -> list[Row]:
    """Return what the work on each table takes and gives back, that on all of them at last.

    Nothing for a report without estimates, before sizes were measured again, or where nothing was
    to be done.
    """
    checked = bool(report.get("check_mode"))
    ended = checked or "vacuum" in report.get("steps", ()) or report.get("errors")
    if not report.get("estimate") or not ended:
        return []
    found = [
        Row(
            table["name"],
            _shown(table.get("estimate") or {}),
            () if checked else _shown(took(table)),
        )
        for table in report["tables"]
        if _worked_on(report, table)
    ]
    if not found:
        return []
    done = report.get("measured")
    whole = Row(_WHOLE, _shown(report["estimate"]), _shown(done) if done else ())
    return [*found, whole]


def lines(report: Mapping[str, Any]) -> list[str]:
    """Show the rows on a screen, after an empty line and a title."""
    found, checked = rows(report), bool(report.get("check_mode"))
    if not found:
        return []
    heads = _heads(checked=checked)
    told = [("table", heads if checked else _paired(heads, ("estimated",) * 4))]
    for row in found:
        told.append((row.name, _paired(row.measured, row.estimated) or row.estimated))
    title = "what it takes, about:" if checked else "what it took, beside what was estimated:"
    shown = (
        f"    {name:<{_NAME}}" + "".join(f"{c:>{_WIDTH}}" for c in cells) for name, cells in told
    )
    return ["", f"  {title}", *shown]


def markdown(report: Mapping[str, Any]) -> list[str]:
    """Show the rows as a table of Markdown, under a title; what was estimated is in brackets."""
    found, checked = rows(report), bool(report.get("check_mode"))
    if not found:
        return []
    title = "takes, about" if checked else "took, and in brackets what was estimated"
    heads = ("table", *_heads(checked=checked))
    told = [
        (row.name, *(f"{m} ({e})" for m, e in zip(row.measured, row.estimated, strict=True)))
        if row.measured
        else (row.name, *row.estimated)
        for row in found
    ]
    return [
        f"## What it {title}",
        "",
        f"| {' | '.join(head[0].upper() + head[1:] for head in heads)} |",
        "|:--|--:|--:|--:|--:|",
        *(f"| {' | '.join(cells)} |" for cells in told),
        "",
    ]


def would_take(report: Mapping[str, Any]) -> str:
    """Say in a few words what a run would give back, and about what it would take."""
    estimate = report.get("estimate")
    if not estimate:
        return f", {size(report['plan']['bytes_back'])} would come back"
    lock, wal = estimate["lock_ms"], estimate["wal_bytes"]
    locked = f"longest lock {lock:,} ms" if lock else "no lock"
    written = f", {size(wal)} of WAL" if wal else ""
    back = f", {size(estimate['bytes_back'])} would come back"
    return f"{back}; about {estimate['seconds']:,.1f} s of work{written}, {locked}"


def as_json(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as the report has it."""
    return {**asdict(estimate), "seconds": round(estimate.seconds, 3)}


def measured(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run gave back and took, in the words of its estimate; nothing in a check."""
    database, tables = report["database"], report["tables"]
    before, after = database.get("bytes_before"), database.get("bytes_after")
    if report["check_mode"] or before is None or after is None:
        return {}
    seconds = sum(table["seconds"] for table in tables) + database.get("seconds", 0.0)
    locks = [database.get("lock_ms_max", 0), *(table["lock_ms_max"] for table in tables)]
    return {
        "bytes_back": before - after,
        "seconds": round(seconds, 3),
        "wal_bytes": sum(table["wal_bytes"] for table in tables),
        "lock_ms": max(locks),
    }


def why_rows_go(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each reason for which rows go, with the rows of each table."""
    tables: dict[str, dict[str, int]] = {}
    for reason in report.get("plan", {}).get("reasons", ()):
        of = tables.setdefault(reason["why"], {})
        of[reason["what"]] = of.get(reason["what"], 0) + reason["rows"]
    return [
        f"{why}: " + ", ".join(f"{count(n)} {table}" for table, n in of.items())
        for why, of in tables.items()
    ]


def _heads(*, checked: bool) -> tuple[str, ...]:
    return ("comes back" if checked else "came back", "time", "WAL", "lock")


def _paired(measured: tuple[str, ...], estimated: tuple[str, ...]) -> tuple[str, ...]:
    """Put each estimate behind what was measured; nothing where nothing was."""
    return tuple(cell for pair in zip(measured, estimated, strict=False) for cell in pair)


def _worked_on(report: Mapping[str, Any], table: Mapping[str, Any]) -> bool:
    estimate = table.get("estimate") or {}
    return bool(report["deleted"].get(table["name"]) or any(estimate.values()))


def _shown(cost: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_cells(cost)) if cost else ("-",) * 4


def _cells(cost: Mapping[str, Any]) -> Iterator[str]:
    back = cost["bytes_back"]
    yield size(None if back is None else max(0, back))
    yield f"{cost['seconds']:,.1f} s"
    yield size(cost["wal_bytes"])
    yield f"{cost['lock_ms']:,} ms"
