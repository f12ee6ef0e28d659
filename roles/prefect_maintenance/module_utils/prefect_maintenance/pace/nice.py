"""After each batch a pause in proportion to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..request.throttle import Throttle
from .governors import Answer, Moment, Wait

# Nobody who wants the end waits longer for it.
_MOST = 1.0


@dataclass(frozen=True)
class Nice:
    """Waits so many times as long as a batch took."""

    limits: Callable[[], Throttle]

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        times = self.limits().nice
        left = times * moment.worked - moment.waited
        if left <= 0:
            return None
        return Wait(f"{times:g} times as long as the batch took", min(left, _MOST), "nice")
