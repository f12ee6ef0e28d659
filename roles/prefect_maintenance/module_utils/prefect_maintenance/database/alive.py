"""Signs that a maintenance run is alive, also between two of its steps, when no lock is held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Busy, LockTimeout
from .connection import Database, connect
from .one_runner import LOCK_KEY

# Beside the locks of the one runner and of the places in a cluster.
ALIVE_KEY = LOCK_KEY + 2
# Seconds for which somebody may be looking whether a run is alive.
_LOCK_TIMEOUT = 30.0
_PROCESSES = Path("/proc")


@contextmanager
def sign_of_life(db_url: str | None) -> Iterator[None]:
    """Show everybody who uses the database that a run is at work until the end of the block.

    A session of its own holds a shared lock, and dies with the process. On SQLite the process
    itself is the sign: it is on the machine that has the file.

    Raises:
        ConnectionFailed: the database cannot be reached.
        LockTimeout: somebody went on looking for lost runs for half a minute.
    """
    with connect(db_url, _LOCK_TIMEOUT) as database:
        if database.is_postgresql:
            try:
                database.scalar(f"SELECT pg_advisory_lock_shared({ALIVE_KEY})")
            except LockTimeout:
                raise LockTimeout(
                    "runs that a killed worker left were looked for longer than "
                    f"{_LOCK_TIMEOUT:g} s; run again"
                ) from None
        yield


def require_none_alive(database: Database) -> None:
    """Make sure that no run gives a sign of life, and that none begins before the session ends.

    Raises:
        Busy: one does.
    """
    if not database.is_postgresql:
        return
    if not database.scalar(f"SELECT pg_try_advisory_lock({ALIVE_KEY})"):
        raise Busy(
            "a maintenance run of this database is at work, between two of its steps; wait for it"
        )


def has_process(flow_run: str) -> bool:
    """Tell whether a process of this machine, as far as it may be seen, carries out a flow run."""
    sign = f"PREFECT__FLOW_RUN_ID={flow_run}".encode()
    for environment in _PROCESSES.glob("[0-9]*/environ"):
        try:
            if sign in environment.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue  # It ended just now, or is another user's.
    return False
