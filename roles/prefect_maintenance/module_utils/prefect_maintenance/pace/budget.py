"""A step ends when its time is used up."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from .governors import Answer, Moment, Stop


@dataclass
class Budget:
    """Ends a step after so many seconds; 0 is no limit."""

    seconds: int
    _began: float = field(default_factory=time.monotonic)

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        if not self.seconds or time.monotonic() - self._began < self.seconds:
            return None
        return Stop(
            f"the time budget of {self.seconds} s was used up while at {moment.at}; "
            "run again to go on",
            "run again to go on, or raise prefect_maintenance_max_runtime",
        )
