"""One line that says how far a step is, made from the events, for everybody who waits for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..events import COUNTED, MEASURED, Event, Progress, Reclaimed, StepStarted, TableDone, Waiting
from ..units import count, duration, size

# Seconds over which the rows per second are counted, and between two samples of them.
_OVER, _SAMPLE = 30.0, 1.0
# Before so much is done nobody can tell how long the rest takes.
_LEAST_SHARE = 0.01
# A pause this short belongs to the pace of the work.
_PAUSE = 2.0
_NAMES = {"bloat_info": "measure", "role": "provide the role"}


@dataclass
class Live:
    """A listener to the events of a run that always has a line for people.

    Another thread may ask for the line, so that showing it costs the work no time.

    Attributes:
        row_bytes: what a row of a table takes on disk, about, where that is known.
        clock: seconds that only go on.
    """

    row_bytes: Mapping[str, float] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _step: str = ""
    _at: Progress | None = None
    _waiting: Waiting | None = None
    _since: float = 0.0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def after(cls, report: Mapping[str, Any]) -> Live:
        """Make one for the step that continues a report, whose sizes tell what a row takes."""
        tables = [table for table in report.get("tables") or () if table.get("rows_before")]
        return cls({t["name"]: (t.get("bytes_before") or 0) / t["rows_before"] for t in tables})

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            self._take(event)

    def line(self) -> str:
        """Return where the step is, how fast it goes and how long it will take, or why it waits."""
        with self._lock:
            told = [*self._done(), *self._wait()]
            place = self._step if self._at is None else f"{self._step} {self._at.table}"
        return f"{place}: {', '.join(told) or 'getting ready'}" if place else "starting"

    @property
    def share(self) -> float | None:
        """How much of the work on the present table is done, from 0 to 1, where that is known."""
        at = self._at
        if at is None or not at.total or at.unit in (COUNTED, MEASURED):
            return None
        return min(1.0, at.done / at.total)

    def _take(self, event: Event) -> None:
        match event:
            case StepStarted(step):
                self._step, self._waiting = _NAMES.get(step, step), None
                self._begin(None)
            case Progress():
                self._go_on(event)
            case Waiting():
                if self._waiting is None:
                    self._since = self.clock()
                self._waiting = event
            case TableDone() | Reclaimed():
                self._waiting = None
                self._begin(None)
            case _:
                pass

    def _begin(self, at: Progress | None) -> None:
        self._at = at
        self._samples.clear()

    def _go_on(self, event: Progress) -> None:
        now, at = self.clock(), self._at
        if at is None or (at.table, at.unit) != (event.table, event.unit) or event.done < at.done:
            self._begin(event)
        self._at, self._waiting = event, None
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE:
            self._samples.append((now, event.done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _OVER:
            self._samples.popleft()

    def _done(self) -> list[str]:
        at, share = self._at, self.share
        if at is None:
            return []
        of = f" of {count(at.total)}" if at.total else ""
        told = [f"{count(at.done)}{of} {at.unit}"]
        if share is not None:
            told.append(f"{100 * share:.0f} %")
        rate = self._rate()
        if rate >= 1 and at.unit == "rows":
            told.append(f"{count(round(rate))} rows/s")
        if written := at.bytes or int(at.done * self.row_bytes.get(at.table, 0)):
            told.append(size(written))
        if rate > 0 and at.total and share is not None and _LEAST_SHARE <= share < 1:
            told.append(f"{duration((at.total - at.done) / rate)} left")
        return told

    def _wait(self) -> list[str]:
        if self._waiting is None:
            return []
        waited = self.clock() - self._since
        if waited + self._waiting.seconds < _PAUSE:
            return []
        return [f"waiting for {duration(waited)}: {self._waiting.why}"]

    def _rate(self) -> float:
        if self._at is None or not self._samples:
            return 0.0
        began, before = self._samples[0]
        seconds = self.clock() - began
        return (self._at.done - before) / seconds if seconds > 0 else 0.0
