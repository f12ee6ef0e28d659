"""How a run stands after a step that did not come to its end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import MaintenanceError, Stopped

if TYPE_CHECKING:
    from .report import Report


def ended_by(report: Report, step: str, error: Exception) -> Report:
    """Note what ended a step; that no window is open any more is no failure."""
    told = f"{step}: {error}"
    if isinstance(error, Stopped) and error.goes_on:
        opens = error.goes_on.isoformat(timespec="minutes")
        return replace(report, status="partial", goes_on=opens).with_warnings([told])
    done = replace(report, status=report.status_if_lost, errors=(*report.errors, told))
    remedy = error.remedy if isinstance(error, MaintenanceError) else ""
    return done.with_remedy(told, remedy) if remedy else done
