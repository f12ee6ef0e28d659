"""The work goes on only in the windows that it was given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..request.instants import now
from ..request.windows import LONGEST, Window, zone_of
from .governors import Answer, Moment, Stop, Wait

# A window that opens so soon is waited for; for a later one the step ends.
WAIT_AT_MOST = timedelta(minutes=15)
# Seconds after which the clock is looked at again.
_LOOK = 1.0
# Windows that open and close on the way to the next opening; more than a year, with one a day.
_FURTHEST = 1000
_REMEDY = "correct prefect_maintenance_windows"


@dataclass(frozen=True)
class Opening:
    """When the work may go on.

    Attributes:
        at: the instant.
        timezone: of the window that decides it.
    """

    at: datetime
    timezone: str

    @property
    def local(self) -> str:
        """The instant for people, by the clocks of the window."""
        return f"{self.at.astimezone(zone_of(self.timezone)):%Y-%m-%d %H:%M} {self.timezone}"


@dataclass(frozen=True)
class Windows:
    """Ends a step while no window is open, and waits when one opens within minutes.

    Attributes:
        windows: those of the request; a deny beats an allow, and where no window allows, all time
            is allowed that none denies.
        clock: the target's, which every step compares with the database's.
    """

    windows: Sequence[Window]
    clock: Callable[[], datetime] = now

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        at = self.clock()
        opens = opening(self.windows, at)
        if opens is None:
            return Stop(f"no window is open while at {moment.at}, and none opens again", _REMEDY)
        if opens.at == at:
            return None
        if opens.at - at <= WAIT_AT_MOST:
            left = (opens.at - at).total_seconds()
            return Wait(f"no window is open before {opens.local}", min(left, _LOOK), "window")
        return Stop(
            f"no window was open while at {moment.at}; the next run goes on in the next "
            f"window, which opens {opens.local}",
            goes_on=opens.at.astimezone(zone_of(opens.timezone)),
        )


def seconds_left(windows: Sequence[Window], at: datetime) -> float:
    """Return for how long work may go on from an instant on, or from the next opening on.

    Nobody looks further than a week, which is infinity.
    """
    begin = opening(windows, at) if windows else None
    if begin is None:
        return math.inf
    closes = begin.at
    while closes - begin.at < LONGEST:
        going = opening(windows, closes)
        if going is None or going.at != closes:
            return (closes - begin.at).total_seconds()
        ends = [w.open_until(closes) for w in windows if w.allows]
        denied = [w.opens_after(closes) for w in windows if not w.allows]
        ahead = [max(filter(None, ends))] if any(ends) else []
        closes = min((*ahead, *filter(None, denied)), default=closes + LONGEST)
    return math.inf


def opening(windows: Sequence[Window], at: datetime) -> Opening | None:
    """Return when work may go on from an instant on, which is that instant itself in a window.

    None when no window opens in years.
    """
    allows = [window for window in windows if window.allows]
    denies = [window for window in windows if not window.allows]
    zone = "UTC"
    for _ in range(_FURTHEST):
        denied = [(closes, w.timezone) for w in denies if (closes := w.open_until(at))]
        if denied:
            at, zone = max(denied)
            continue
        if not allows or any(window.open_until(at) for window in allows):
            return Opening(at, zone)
        ahead = [(opens, w.timezone) for w in allows if (opens := w.opens_after(at))]
        if not ahead:
            return None
        at, zone = min(ahead)
    return None
