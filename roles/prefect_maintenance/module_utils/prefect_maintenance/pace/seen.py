"""What a signal decides from, and the room that a wait leaves before the work goes on."""

from __future__ import annotations

from dataclasses import dataclass

from ..measure.load import Load
from ..request.throttle import Throttle

# While the work waits, it goes on only when a threshold is kept with so much room: what hovers
# around it would let the work go on and wait again with every batch.
ROOM = 0.8

# A server that has nothing to bear.
NOTHING = Load()


@dataclass(frozen=True)
class Seen:
    """One look, for one signal.

    Attributes:
        at: the table that is worked on, or what else is.
        limits: the thresholds.
        now: the server's load.
        first: its load before the work.
        waiting: whether the work waits for this signal already.
        latency: seconds that the API takes to answer; None where that is not known.
        idle_latency: seconds that it took before the work.
    """

    at: str
    limits: Throttle
    now: Load = NOTHING
    first: Load = NOTHING
    waiting: bool = False
    latency: float | None = None
    idle_latency: float | None = None

    def most(self, threshold: float) -> float:
        """Return what a number must not pass."""
        return threshold * ROOM if self.waiting else threshold

    def least(self, threshold: float) -> float:
        """Return what a number must not fall below."""
        return threshold / ROOM if self.waiting else threshold
