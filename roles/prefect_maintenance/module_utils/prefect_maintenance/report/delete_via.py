"""Which way flow runs went, or would, and why: noted in the report, and said in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..catalogue import ARTIFACT, FLOW_RUN, TASK_RUN
from ..plan.plan import Plan
from ..plan.via import NO_GUARD

if TYPE_CHECKING:
    from .report import Report

_WAYS = {"api": "through the API", "sql": "by SQL", "mixed": "through the API and by SQL"}


def planned(report: Report, plan: Plan) -> Report:
    """Note which way a plan has chosen for flow runs, and why nothing else goes that way."""
    if plan.via is None:
        return report
    told = asdict(plan.via)
    del told["through_api"]
    report, whys = replace(report, delete_via=told), {FLOW_RUN.name: plan.via.why}
    if plan.via.through_api:
        whys |= {TASK_RUN.name: NO_GUARD, ARTIFACT.name: NO_GUARD}
    for table, why in whys.items():
        if plan.rows.get(table):
            report = report.with_table(replace(report.table(table), strategy_why=why))
    return report


def went(report: Report, ways: Iterable[str] = (), why: str = "") -> Report:
    """Note in which ways flow runs went after all, or why some went in another than planned."""
    told = dict(report.delete_via)
    known = [way for way in ("api", "sql") if way in ways]
    if told and known:
        told["way"] = "mixed" if len(known) > 1 else known[0]
    if told and why:
        told["why"] = f"{told['why']}; {why}"
    return replace(report, delete_via=told)


def sentence(report: Mapping[str, Any]) -> str:
    """Say which way flow runs went, or would, and why; nothing where none do.

    Args:
        report: as its JSON stands, perhaps of a version before that key.
    """
    told = report.get("delete_via")
    if not told or not report["deleted"].get(FLOW_RUN.name):
        return ""
    go = "would go" if report.get("check_mode") else "went"
    return f"flow runs {go} {_WAYS.get(told['way'], told['way'])}: {told['why']}"
