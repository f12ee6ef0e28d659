"""A signal ends a step at the next batch instead of in the middle of one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from .governors import Answer, Moment, Stop


@dataclass
class Signals:
    """Ends a step once SIGTERM or SIGINT has come while they were heeded."""

    _came: str = field(default="", init=False)

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        if not self._came:
            return None
        return Stop(f"stopped by {self._came} while at {moment.at}; run again to go on")

    def note(self, name: str) -> None:
        """End the step at the next batch because of this signal."""
        self._came = name

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Take the two signals over until the end of the block."""

        def heed(number: int, _frame: FrameType | None) -> None:
            self.note(signal.Signals(number).name)

        before = {n: signal.signal(n, heed) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
