"""A step in the background ends when whoever follows it has been gone for too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .governors import Answer, Moment
from .parent import gone


@dataclass
class Heartbeat:
    """Ends a step once a file that its follower touches has stayed the same, or is gone.

    A connection may be lost for a while, so it takes its time. When the file changed is only
    compared with itself, and the seconds are this process's own: clocks may differ and jump.

    Attributes:
        file: a follower that gives up removes it.
        seconds: that it may stay the same.
        clock: seconds that only go on.
    """

    file: Path
    seconds: float
    clock: Callable[[], float] = time.monotonic
    _seen: int = 0
    _changed: float | None = None

    @property
    def gone(self) -> bool:
        """Tell whether nobody follows any more, as of the last look."""
        return self._changed is not None and self.clock() - self._changed >= self.seconds

    def look(self) -> None:
        """Look at the file; to be called every second, as a batch may be at work for longer."""
        try:
            seen = self.file.stat().st_mtime_ns
        except FileNotFoundError:
            self._changed = -float("inf")
            return
        if self._changed is None or seen != self._seen:
            self._seen, self._changed = seen, self.clock()

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        self.look()
        return gone(moment) if self.gone else None
