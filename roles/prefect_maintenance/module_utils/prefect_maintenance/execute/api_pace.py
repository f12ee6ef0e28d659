"""How deletion through the API leaves the server its turn, and when its time is used up."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..pace.governors import Answer, Moment, Wait

# Reads may take so many times what they take while the server is left alone.
SLOWER = 3
# Runs of one call: at first, and at least.
FIRST, _SMALLEST = 5, 1
# How much larger or smaller the next call may be.
_GROW, _SHRINK = 1.25, 0.5
_IDLE_READS, _LOOKS = 10, 2
# A server that was quick is left alone for so many seconds: a look costs it as much as a call, and
# while calls come one upon another it carries out its tasks as they come, not in heaps.
EVERY = 0.1
# A server that is busy for longer than this is not so because of the last call.
_LONGEST_PAUSE = 60.0
# Nobody who asks to stop waits for longer.
_LONGEST_WAIT = 1.0
# After so many calls their rate says how long the others take.
_TELLING = 10


@dataclass
class ApiPace:
    """Says how many runs the next call deletes, and when it may come: a governor.

    Prefect's server is one process: reads wait about as long as a call lasts, and while the tasks
    are carried out that it queues for each run. So a call is made as large as reads can bear, and
    whenever they are much slower than before the first call, the next one comes when they are not.

    Attributes:
        read: makes a light read; returns whether the server answered.
        most: runs of one call at most.
        budget: seconds that calls, reads and pauses may take together.
        size: runs of the next call.
        spent: seconds so far.
        clock: tells the time in seconds.
    """

    read: Callable[[], bool]
    most: int
    budget: float = math.inf
    size: int = field(default_factory=lambda: FIRST)
    spent: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _idle: float = 0.0
    _calls: int = 0
    _asked: int = 0
    _not_before: float = -math.inf
    _quick_until: float = -math.inf
    _put_off_by: str = ""
    _ended: bool = False

    def begin(self) -> None:
        """Find out how long reads take while the server is left alone."""
        self.size = min(self.size, self.most)
        self._latency()
        self._idle = statistics.median(self._latency() for _ in range(_IDLE_READS))

    @contextmanager
    def calling(self, runs: int) -> Iterator[None]:
        """Take the time of a call that deletes so many runs."""
        began = self.clock()
        try:
            yield
        finally:
            seconds = self.clock() - began
            self.spent += seconds
            self._calls += 1
            self._asked += runs
            self._resize(seconds)

    def put_off(self, seconds: float, why: str) -> None:
        """Let the next call come after so many seconds."""
        self._not_before, self._put_off_by = self.clock() + seconds, why

    def end(self) -> None:
        """Wait no more: there will be no other call."""
        self._ended = True

    def over(self, left: int) -> str:
        """Say why the rest is not to go through the API, or nothing when it may.

        Args:
            left: runs that are still to go through it.
        """
        if self.spent >= self.budget:
            return f"api_budget ({self.budget:,.0f} s) was used up"
        if self._calls < _TELLING or not self._asked:
            return ""
        needed = left * self.spent / self._asked
        if self.spent + needed <= self.budget:
            return ""
        return (
            f"at {self._asked / self.spent:,.1f} runs/s the other {left:,} would take "
            f"{needed:,.0f} s, more than is left of api_budget ({self.budget:,.0f} s)"
        )

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        if self._ended or self.spent >= self.budget:
            return None
        put_off = self._not_before - self.clock()
        if put_off > 0:
            return self._wait(self._put_off_by, put_off)
        if moment.waited >= _LONGEST_PAUSE or self.clock() < self._quick_until:
            return None
        # One quick read may have come between two of the tasks that the last call left.
        latency = max(self._latency() for _ in range(_LOOKS))
        if latency < SLOWER * self._idle:
            self._quick_until = self.clock() + EVERY
            return None
        slow = f"{1000 * latency:,.0f} ms" if latency < math.inf else "no answer"
        return self._wait(f"a read of the API: {slow}, idle {1000 * self._idle:,.0f} ms", latency)

    def _wait(self, why: str, seconds: float) -> Wait:
        seconds = min(seconds, _LONGEST_WAIT, self.budget - self.spent)
        self.spent += seconds
        return Wait(why, seconds, "api")

    def _latency(self) -> float:
        began = self.clock()
        answered = self.read()
        seconds = self.clock() - began
        self.spent += seconds
        return seconds if answered else math.inf

    def _resize(self, seconds: float) -> None:
        # A read that comes with the call waits for it and then takes its own time.
        bearable = (SLOWER - 1) * self._idle
        factor = bearable / seconds if seconds else _GROW
        wanted = self.size * max(_SHRINK, min(_GROW, factor))
        grown = math.ceil(wanted) if factor > 1 else math.floor(wanted)
        self.size = max(_SMALLEST, min(self.most, grown))
