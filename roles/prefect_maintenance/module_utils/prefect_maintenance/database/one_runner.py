"""One maintenance run at a time on a database: a second one learns who is at work, and stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Busy
from .connection import Database
from .pooler import shared
from .session import application_name
from .sqlite_lock import lock_file

# Any constant would do, as long as every version of this tool uses the same one.
LOCK_KEY = 0x0507_EFEC_7DB0_1EA4

_HOLDER = """
SELECT a.application_name, a.usename, host(a.client_addr), a.backend_start
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) | l.objid::bigint = :key
"""


@contextmanager
def only_runner(database: Database) -> Iterator[None]:
    """Hold the one place for a maintenance run on this database.

    Raises:
        Busy: another run holds it; the text says who and since when.
        Unsupported: the session that took it is not ours alone.
    """
    if database.is_postgresql:
        pid = database.scalar(f"SELECT pg_backend_pid() WHERE pg_try_advisory_lock({LOCK_KEY})")
        if pid is None:
            raise Busy(_holder(database))
        _require_held_by(database, pid)
        try:
            yield
        finally:
            if not database.connection.closed and not database.connection.invalidated:
                database.scalar(f"SELECT pg_advisory_unlock({LOCK_KEY})")
    else:
        with lock_file(database.file, application_name()):
            yield


def _require_held_by(database: Database, pid: int) -> None:
    """Make sure that the session which took the lock is still ours at the next statements."""
    for _ in range(3):
        if database.scalar("SELECT pg_backend_pid()") != pid:
            # Only the end of a session that we do not reach any more frees its lock.
            database.scalar("SELECT pg_terminate_backend(:pid)", pid=pid)
            raise shared()


def _holder(database: Database) -> str:
    found = database.rows(_HOLDER, key=LOCK_KEY)
    if not found:
        return "another maintenance run held this database a moment ago; run again"
    name, user, address, since = found[0]
    return (
        f"another maintenance run is at work on this database: {name or 'unnamed'} as {user}"
        f"{f' from {address}' if address else ''}, since {since:%Y-%m-%d %H:%M:%S} UTC; "
        "wait for it, or stop it with playbooks/stop.yml"
    )
