"""A report as its JSON stands, which steps and doors hand on, with what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..request.instants import iso, now
from .forecast import forecast, settled
from .verdict import verdict


def with_waits(report: Mapping[str, Any], waited: Mapping[str, float]) -> dict[str, Any]:
    """Return a report as its JSON stands, with what a step has waited, by what for."""
    before = report.get("waited", {})
    kinds = dict.fromkeys((*before, *waited))
    summed = {kind: round(before.get(kind, 0) + waited.get(kind, 0), 3) for kind in kinds}
    return {**report, "waited": summed}


def with_forecast(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report as its JSON stands with the forecast and the verdict that follow from it."""
    days = (report.get("policy") or {}).get("retention_days")
    tables = [
        {**table, **settled(table, days)} if days else table for table in report.get("tables", ())
    ]
    told = {**report, "tables": tables}
    told["forecast"] = forecast(told)
    return {**told, "verdict": verdict(told).as_json()}


def failed(report: Mapping[str, Any], failure: str, remedy: str = "") -> dict[str, Any]:
    """Return a report as its JSON stands, with a failure that ended the run between two steps.

    Args:
        report: of the steps before; it may be one that no step has written to yet.
        failure: the step, and why it failed, in one line.
        remedy: what helps against it.
    """
    told = {
        **report,
        "finished": iso(now()),
        "status": report.get("status_if_lost", "failed"),
        "errors": [*report.get("errors", ()), failure],
    }
    if remedy:
        told["remedies"] = [*report.get("remedies", ()), {"text": failure, "do": remedy}]
    return with_forecast(told)
