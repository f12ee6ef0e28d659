"""Between two batches one place decides: go on, wait, or stop and say why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import Stopped
from ..events import Events, Progress, Waiting
from ..events import Stopped as StoppedEvent
from .batch_size import BatchSize
from .governors import Governor, Moment, Stop, Wait


@dataclass
class Pace:
    """Called between two batches, never inside one; the only place that waits there.

    Attributes:
        events: takes the progress, and why the work waits or stops.
        governors: each is asked; the first that wants the end gets it, the longest wait is waited.
        batches: says how large the next batch is.
        batch: says of seconds of work how many of them are the batch.
    """

    events: Events = field(default_factory=Events)
    governors: tuple[Governor, ...] = ()
    batches: BatchSize = field(default_factory=BatchSize)
    batch: Callable[[float], float] = lambda worked: worked
    _let_go: float = field(default_factory=time.monotonic)

    def __call__(self, progress: Progress) -> None:
        """Tell the progress, then go on when every governor lets the work.

        Raises:
            Stopped: a governor ends the step; the text says which and how to go on.
        """
        self.events(progress)
        self.ask(progress.table)

    def ask(self, at: str) -> None:
        """Go on when every governor lets the work.

        Args:
            at: what is worked on, for texts.

        Raises:
            Stopped: a governor ends the step; the text says which and how to go on.
        """
        began = time.monotonic()
        worked = began - self._let_go
        self.batches.took(self.batch(worked))
        while wait := self._longest(Moment(at, worked, time.monotonic() - began)):
            self.events(Waiting(at, wait.why, wait.seconds, wait.kind))
            time.sleep(wait.seconds)
        self._let_go = time.monotonic()

    def look(self, at: str) -> None:
        """End work that cannot wait when a governor wants the end.

        Raises:
            Stopped: a governor ends the step; the text says which and how to go on.
        """
        self._longest(Moment(at, 0.0, 0.0))

    def begin(self) -> None:
        """Let the work begin: what came before counts for no batch."""
        self._let_go = time.monotonic()

    @contextmanager
    def also(self, *governors: Governor) -> Iterator[None]:
        """Ask more governors until the end of the block."""
        before, self.governors = self.governors, (*self.governors, *governors)
        try:
            yield
        finally:
            self.governors = before

    def _longest(self, moment: Moment) -> Wait | None:
        longest: Wait | None = None
        for governor in self.governors:
            answer = governor(moment)
            if isinstance(answer, Stop):
                self.events(StoppedEvent(answer.why))
                raise Stopped(answer.why, answer.remedy, answer.goes_on)
            if answer and (longest is None or answer.seconds > longest.seconds):
                longest = answer
        return longest
