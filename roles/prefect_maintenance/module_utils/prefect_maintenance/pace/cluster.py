"""Among the databases of one PostgreSQL cluster only so many are maintained at a time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..database.connection import Database
from ..database.one_runner import LOCK_KEY
from ..errors import Stopped
from .governors import Answer, Moment, Stop, Wait
from .pace import Pace

# Beside the lock of the one runner on a database.
PLACE_KEY = LOCK_KEY + 1

# Seconds to wait for a place where the step has no time budget that ends the wait.
WAIT_SECONDS = 3600.0

# An advisory lock belongs to one database, but everybody sees those of the whole cluster
# (PostgreSQL manual, pg_locks). Each run counts only after it has taken its own, so two that
# come at once both see both. Every role may take the key; only what bears the name of a
# maintenance run counts, and the wait ends and names it.
_TAKEN = """
SELECT a.application_name || ' as ' || a.usename || ' on database ' || a.datname
       || ', pid ' || a.pid
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND (l.classid::bigint << 32) | l.objid::bigint = :key
  AND a.application_name LIKE 'prefect-maintenance %' AND a.pid <> pg_backend_pid()
ORDER BY a.backend_start
"""
# Another session of the same database, under whatever name: nobody can have a place beside it.
_HERE = _TAKEN.replace(
    "a.application_name LIKE 'prefect-maintenance %'",
    "l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
)
_WAIT = "the wait for other databases of the cluster"


@contextmanager
def place_in_cluster(database: Database, places: int, pace: Pace) -> Iterator[None]:
    """Hold one of so many places in the database's cluster; wait until one is free.

    Args:
        database: an open connection; the place is held by its session.
        places: how many databases may be worked on at a time; 0 is any number.
        pace: waits.

    Raises:
        Stopped: the pace ended the wait, or it took an hour; the text says who holds the places.
    """
    if not places or not database.is_postgresql:
        yield
        return
    place = _Place(database, places)
    try:
        try:
            with pace.also(place):
                pace.ask(_WAIT)
        except Stopped as stopped:
            at_work = "; ".join(place.others)
            if not at_work or at_work in str(stopped):
                raise
            why = f"{stopped}; at work are {at_work}"
            raise Stopped(why, stopped.remedy, stopped.goes_on) from None
        yield
    finally:
        place.give_back()


@dataclass
class _Place:
    """Takes a place as soon as one is free."""

    database: Database
    places: int
    others: list[str] = field(default_factory=list)
    _until: float = field(default_factory=lambda: time.monotonic() + WAIT_SECONDS)
    _taken: bool = False

    def __call__(self, moment: Moment) -> Answer:
        if self._taken:
            return None
        self.others = _others(self.database, self.places)
        if not self.others:
            self._taken = True
            return None
        at_work = "; ".join(self.others)
        if time.monotonic() > self._until:
            return Stop(
                f"no place in the cluster in {WAIT_SECONDS:g} s: at work are {at_work}; "
                "wait for them, end a session that should not be there, or allow more at a time "
                "with per_cluster"
            )
        # Those that came at once must not come at once again.
        pause = random.uniform(0.5, 1.5)
        return Wait(f"other databases of the cluster: {at_work}", pause, "cluster")

    def give_back(self) -> None:
        """Let somebody else have the place; a session that is gone has given it back."""
        connection = self.database.connection
        if self._taken and not connection.closed and not connection.invalidated:
            self.database.scalar(f"SELECT pg_advisory_unlock({PLACE_KEY})")


def _others(database: Database, places: int) -> list[str]:
    """Take a place; where none is free, name those that hold them."""
    if not database.scalar(f"SELECT pg_try_advisory_lock({PLACE_KEY})"):
        return [row[0] for row in database.rows(_HERE, key=PLACE_KEY)] or ["one that has just gone"]
    others = [row[0] for row in database.rows(_TAKEN, key=PLACE_KEY)]
    if len(others) < places:
        return []
    database.scalar(f"SELECT pg_advisory_unlock({PLACE_KEY})")
    return others
