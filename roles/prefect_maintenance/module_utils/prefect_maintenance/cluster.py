"""Among the databases of one PostgreSQL cluster only so many are maintained at a time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .connection import LOCK_KEY, Database
from .pace import Pace, Progress

# Beside the lock of the one runner on a database.
PLACE_KEY = LOCK_KEY + 1

# An advisory lock belongs to one database, but everybody sees those of the whole cluster
# (PostgreSQL manual, pg_locks). Each run counts only after it has taken its own, so two that
# come at once both see both.
_TAKEN = """
SELECT count(DISTINCT database) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND (classid::bigint << 32) | objid::bigint = :key
"""
_WAIT = Progress("the wait for other databases of the cluster", 0, None)


@contextmanager
def place_in_cluster(database: Database, places: int, pace: Pace) -> Iterator[None]:
    """Hold one of so many places in the database's cluster; wait until one is free.

    Args:
        database: an open connection; the place is held by its session.
        places: how many databases may be worked on at a time; 0 is any number.
        pace: asked again and again while waiting.

    Raises:
        Stopped: the pace ended the wait.
    """
    if not places or not database.is_postgresql:
        yield
        return
    while not _taken(database, places):
        pace(_WAIT)
        # Those that came at once must not come at once again.
        time.sleep(random.uniform(0.5, 1.5))
    try:
        yield
    finally:
        if not database.connection.closed and not database.connection.invalidated:
            database.scalar(f"SELECT pg_advisory_unlock({PLACE_KEY})")


def _taken(database: Database, places: int) -> bool:
    database.scalar(f"SELECT pg_advisory_lock({PLACE_KEY})")
    if database.scalar(_TAKEN, key=PLACE_KEY) <= places:
        return True
    database.scalar(f"SELECT pg_advisory_unlock({PLACE_KEY})")
    return False
