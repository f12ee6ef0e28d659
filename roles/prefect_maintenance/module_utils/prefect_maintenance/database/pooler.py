"""Whether the session is our own, or one of a pool that others get between our transactions.

In a pool in transaction mode settings of the session reach strangers, and its locks stay behind.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg2
import sqlalchemy as sa
from psycopg2 import extensions

from ..errors import ConnectionFailed, Unsupported

_PID = "SELECT pg_backend_pid()"
# A pool gives out first what came back last, but another client may be quicker.
_ROUNDS = 5
# A pool in session mode may have no second session free.
_LOCK_TIMEOUT = 3.0


def require_own_session(url: sa.URL, connection: sa.Connection) -> None:
    """Make sure that between two transactions nobody else gets the session.

    PostgreSQL itself names its process when the session begins; a pooler names one of its own.
    Only behind a pooler a second connection then tries to get our session while it is idle.

    Raises:
        Unsupported: a pooler gives the session to others.
    """
    driver: Any = connection.connection.driver_connection
    if driver.info.backend_pid == _ours(connection):
        return
    arguments, options = connection.dialect.create_connect_args(url)
    try:
        other = psycopg2.connect(*arguments, **options, async_=1)
    except psycopg2.OperationalError:
        return
    try:
        if not had(other, lambda: None):
            return
        cursor = other.cursor()
        for _ in range(_ROUNDS):
            ours = _ours(connection)
            if not had(other, partial(cursor.execute, "BEGIN")):
                return
            if not had(other, partial(cursor.execute, _PID)):
                return
            if cursor.fetchone()[0] == ours or _ours(connection) != ours:
                raise shared()
            had(other, partial(cursor.execute, "ROLLBACK"))
    except psycopg2.OperationalError:
        # No second session is to be had; the lock of the one runner is looked at once more.
        return
    finally:
        other.close()


def shared() -> Unsupported:
    """Return the refusal of a pool that gives our session to others."""
    return Unsupported(
        "db_url leads to a connection pool in transaction mode, which shares the session with "
        "others; name PostgreSQL itself in db_url, or a pool in session mode"
    )


def _ours(connection: sa.Connection) -> int:
    try:
        return int(connection.exec_driver_sql(_PID).scalar_one())
    except sa.exc.DBAPIError as error:
        raise ConnectionFailed(
            f"the connection to the database was lost: {error.orig}; run again"
        ) from None


def had(other: Any, begin: Callable[[], object]) -> bool:
    """Begin something on an asynchronous connection; tells whether it ended within 3 seconds."""
    begin()
    until = time.monotonic() + _LOCK_TIMEOUT
    while (state := other.poll()) != extensions.POLL_OK:
        left = until - time.monotonic()
        reading = [other] if state == extensions.POLL_READ else []
        writing = [other] if state == extensions.POLL_WRITE else []
        if left <= 0 or not any(select.select(reading, writing, [], left)):
            return False
    return True
