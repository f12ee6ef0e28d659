"""Stuck runs: what became of each, and how that is said to people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..events import StuckRunsSettled
from ..plan.stuck import LATE, StuckRun
from ..units import count, duration

# A report lists so many; people are told of the first.
LISTED, _NAMED = 1000, 10


def listed(found: Iterable[StuckRun]) -> tuple[StuckRun, ...]:
    """Return those that a report lists, what is to be ended and stuck for longest first."""
    ordered = sorted(found, key=lambda run: (not run.due, -run.seconds, run.id))
    return tuple(ordered[:LISTED])


def settled(known: Iterable[StuckRun], event: StuckRunsSettled) -> tuple[StuckRun, ...]:
    """Return stuck runs after it is settled what became of some."""
    done = event.why_not is None
    return tuple(
        replace(one, done=done, why_not=event.why_not) if one.id in event.runs else one
        for one in known
    )


def title(report: Mapping[str, Any]) -> str:
    """Say how many runs are stuck, and how many of them are ended; nothing where none are.

    Args:
        report: as its JSON stands, perhaps of a version before that key.
    """
    found = report.get("stuck") or ()
    if not found:
        return ""
    ends = sum(_ends(one, check=bool(report.get("check_mode"))) for one in found)
    how = "would be ended" if report.get("check_mode") else "ended"
    return f"Stuck runs, {count(ends)} of {count(len(found))} {how}"


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Say of each stuck run what it is and what becomes of it; at most of ten."""
    found = report.get("stuck") or ()
    told = [_sentence(one, check=bool(report.get("check_mode"))) for one in found[:_NAMED]]
    return [*told, f"and {count(len(found) - _NAMED)} more"] if len(found) > _NAMED else told


def lines(report: Mapping[str, Any]) -> list[str]:
    """Show the same on a screen, after an empty line."""
    told = title(report)
    shown = [f"    {sentence}" for sentence in sentences(report)]
    return ["", f"  {told[0].lower()}{told[1:]}:", *shown] if told else []


def markdown(report: Mapping[str, Any], plain: Callable[[str], str]) -> list[str]:
    """Show the same as a list of Markdown; `plain` keeps names from being markup."""
    told = [f"- {plain(sentence)}" for sentence in sentences(report)]
    return [f"## {title(report)}", "", *told, ""] if told else []


def _ends(one: Mapping[str, Any], *, check: bool) -> bool:
    return one["why_not"] is None if check else bool(one["done"])


def _sentence(one: Mapping[str, Any], *, check: bool) -> str:
    late = one["state"] == LATE
    lasted = duration(one["seconds"])
    what = f"late for {lasted}" if late else f"{one['state']} for {lasted}"
    if one["why_not"]:
        then = f"stays: {one['why_not']}"
    elif _ends(one, check=check):
        how = "deleted" if late else "ended"
        then = f"would be {how}" if check else how
    else:
        then = "not tried; the next run looks at it again"
    silent = "" if late or one["why_not"] else _worker(one)
    return f"{one['name']} ({one['id']}) {what}{silent}: {then}"


def _worker(one: Mapping[str, Any]) -> str:
    """Say what its worker says of a run that shows no sign of life."""
    if one["worker"]:
        return f", its worker {one['worker']} silent or started anew"
    return ", its worker not known"
