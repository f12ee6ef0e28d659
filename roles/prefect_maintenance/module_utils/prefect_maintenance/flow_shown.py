"""What is seen of a run of the flow while it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from .events import Event, Progress, Waiting
from .report.live import Live

# Seconds between two signs of life.
_SHOW_EVERY, _LOG_EVERY = 2.0, 10.0


class Shown:
    """Signs of life: a progress artifact that says where the run is, and lines in its log.

    A flow run itself has no description that could be changed, and a state for each line would
    stay in the history; the artifact stands on the run's page.
    """

    def __init__(self, steps: int) -> None:
        self._steps, self._number, self.step = steps, 0, ""
        self._live = Live()
        self._artifact: UUID | None = None
        self._shown = self._logged = time.monotonic()

    def begin(self, number: int, step: str) -> None:
        """Say that a step begins, one of so many."""
        self._number, self.step = number, step
        self._set(0.0, step)

    def after(self, report: Mapping[str, Any]) -> None:
        """Take the report so far, which says what the rows to come take on disk."""
        self._live = Live.after(report)

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self._live(event)
        if not isinstance(event, Progress | Waiting):
            return
        now, line = time.monotonic(), self._live.line()
        if now - self._shown > _SHOW_EVERY:
            self._shown = now
            self._set(self._live.share or 0.0, line)
        if now - self._logged > _LOG_EVERY:
            self._logged = now
            get_run_logger().info("%s", line)

    def done(self) -> None:
        """Show the whole."""
        self._number = self._steps
        self._set(0.0, "done")

    def _set(self, share: float, where: str) -> None:
        percent = min(100.0, 100 * (self._number + share) / self._steps)
        if self._artifact is None:
            made = create_progress_artifact(
                progress=percent, key="prefect-maintenance-progress", description=where
            )
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._artifact, progress=percent, description=where)
