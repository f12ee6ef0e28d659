"""The work waits while the server that it works on has enough to bear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..events import WaitKind
from ..measure.load import Load
from ..request.throttle import Throttle
from .api import api
from .archive import archive
from .autovacuum import autovacuum
from .disk import disk
from .governors import Answer, Moment, Stop, Wait
from .replica import replica
from .seen import NOTHING, Seen
from .sessions import sessions
from .slot import slot

# Seconds between two looks while the work waits.
_EVERY = 1.0

# What ends a server first comes first: of several reasons that one is said.
SIGNALS: Mapping[WaitKind, Callable[[Seen], str | None]] = {
    "disk": disk,
    "slot": slot,
    "archive": archive,
    "replica": replica,
    "autovacuum": autovacuum,
    "sessions": sessions,
    "api": api,
}


class Probe(Protocol):
    """Says how long the API takes to answer, and took before the work."""

    idle: float | None

    def __call__(self) -> float | None:
        """Return the seconds that it takes now; None where that is not known."""


class Reader(Protocol):
    """Looks at the server."""

    def __call__(self) -> Load | None:
        """Return its load; None where it cannot be seen."""

    def warn_hidden_wal(self) -> None:
        """Say what lets the role see the WAL files."""


@dataclass
class Throttling:
    """Waits while any signal says so, and ends a step that had to wait for too long.

    Attributes:
        limits: the thresholds as they are now.
        look: at the server.
        latency: of the API; None without one.
        touched: tables that the run has deleted from before this work, and the cause of what
            autovacuum does there.
    """

    limits: Callable[[], Throttle]
    look: Reader
    latency: Probe | None = None
    touched: frozenset[str] = frozenset()
    _first: Load | None = None
    _since: float | None = None
    _waiting: frozenset[WaitKind] = field(default_factory=frozenset)

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        limits = self.limits()
        if not limits.enabled:
            self._since = None
            return None
        whys = self._whys(moment.at, limits)
        self._waiting = frozenset(whys)
        if not whys:
            self._since = None
            return None
        # A window may have been closed for longer before.
        self._since = moment.waited if self._since is None else self._since
        kind, why = next(iter(whys.items()))
        if not limits.give_up or moment.waited - self._since < limits.give_up:
            return Wait(why, _EVERY, kind)
        return Stop(
            f"gave up after {limits.give_up} s of waiting at {moment.at}: {why}; "
            "run again to go on",
            "mend that and run again, or change its threshold in prefect_maintenance_throttle",
        )

    def _whys(self, at: str, limits: Throttle) -> dict[WaitKind, str]:
        """Return why the work should wait, by signal; what cannot be seen is no reason."""
        now = self.look()
        if now is not None:
            self._first = self._first or now.without(self.touched)
            if limits.wal_bytes and now.wal is None:
                self.look.warn_hidden_wal()
        now, first = (now, self._first or now) if now else (NOTHING, NOTHING)
        latency = self.latency() if self.latency and limits.api_latency else None
        idle = self.latency.idle if self.latency else None
        found = {}
        for kind, signal in SIGNALS.items():
            waiting = kind in self._waiting
            if why := signal(Seen(at, limits, now, first, waiting, latency, idle)):
                found[kind] = why
        return found
