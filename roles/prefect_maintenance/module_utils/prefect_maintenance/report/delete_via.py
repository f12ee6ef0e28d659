"""Which way flow runs went, or would, and why: noted in the report, and said in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from ..catalogue import ARTIFACT, FLOW_RUN, TASK_RUN
from ..plan.plan import Plan
from ..plan.via import NO_GUARD, Via

_WAYS = {"api": "through the API", "sql": "by SQL", "mixed": "through the API and by SQL"}


def told(via: Via) -> dict[str, Any]:
    """Return the way that a plan has chosen for flow runs, as the report has it."""
    return {name: value for name, value in asdict(via).items() if name != "through_api"}


def reasons(plan: Plan) -> dict[str, str]:
    """Return by table why its rows do not go through the API, although flow runs do."""
    if plan.via is None or not plan.via.through_api:
        return {}
    return {name: NO_GUARD for name in (TASK_RUN.name, ARTIFACT.name) if plan.rows.get(name)}


def went(planned: Mapping[str, Any], ways: Iterable[str] = (), why: str = "") -> dict[str, Any]:
    """Return the way of flow runs as it was after all, and why some went in another.

    Args:
        planned: the way as the report has it so far.
        ways: in which flow runs went.
        why: some went in another way than planned.
    """
    known = [way for way in ("api", "sql") if way in ways]
    changed = dict(planned)
    if planned and known:
        changed["way"] = "mixed" if len(known) > 1 else known[0]
    if planned and why:
        changed["why"] = f"{planned['why']}; {why}"
    return changed


def sentence(report: Mapping[str, Any]) -> str:
    """Say which way flow runs went, or would, and why; nothing where none do.

    Args:
        report: as its JSON stands, perhaps of a version before that key.
    """
    via = report.get("delete_via")
    if not via or not report["deleted"].get(FLOW_RUN.name):
        return ""
    go = "would go" if report.get("check_mode") else "went"
    return f"flow runs {go} {_WAYS.get(via['way'], via['way'])}: {via['why']}"


def lines(report: Mapping[str, Any]) -> list[str]:
    """Say the same on a screen, after an empty line."""
    told = sentence(report)
    return ["", *wrap(told, 96, initial_indent="  ", subsequent_indent="    ")] if told else []
