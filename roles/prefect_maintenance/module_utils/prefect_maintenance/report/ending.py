"""How a run stands after a step that did not come to its end."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import MaintenanceError, Stopped


@dataclass(frozen=True)
class Ending:
    """What ended a step; that no window is open any more is no failure.

    Attributes:
        told: the step and what ended it.
        status: of the run.
        goes_on: when the next window opens, after an end without a failure.
        remedy: what helps.
    """

    told: str
    status: str
    goes_on: str = ""
    remedy: str = ""

    @classmethod
    def by(cls, error: Exception, step: str, status: str) -> Ending:
        """Say what an error means; a failure leaves the run in a status."""
        told = f"{step}: {error}"
        if isinstance(error, Stopped) and error.goes_on:
            return cls(told, "partial", error.goes_on.isoformat(timespec="minutes"))
        remedy = error.remedy if isinstance(error, MaintenanceError) else ""
        return cls(told, status, remedy=remedy)
