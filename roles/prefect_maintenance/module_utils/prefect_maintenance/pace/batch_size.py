"""Batches of about the same time, however busy the server is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# GitLab's batches follow their time in steps of this kind: slowly up, faster down.
_DOWN, _UP, _NEAR = 0.8, 1.1, 0.9
_LEAST = 1 / 200


@dataclass
class BatchSize:
    """Says how large the next batch is: at most as asked for, less while batches take too long.

    Attributes:
        target: seconds that a batch should take; 0 leaves every batch as it was asked for.
    """

    target: Callable[[], float] = lambda: 0.0
    _share: float = 1.0
    _asked: bool = False

    def of(self, most: int) -> int:
        """Return the size of the next batch, at most `most`."""
        self._asked = True
        return max(1, min(most, round(most * self._share)))

    def took(self, seconds: float) -> None:
        """Take the time of a batch; one that asked for no size says nothing of the next."""
        target, asked = self.target(), self._asked
        self._asked = False
        if not target:
            self._share = 1.0
        elif asked and seconds > target:
            self._share = max(_LEAST, self._share * _DOWN)
        elif asked and seconds < _NEAR * target:
            self._share = min(1.0, self._share * _UP)
