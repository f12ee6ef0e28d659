"""A session made ready: its name, and the settings without which a step would end half-way."""

from __future__ import annotations

import os
import socket

import sqlalchemy as sa

from ..errors import Unsupported

# What a role or database was given for its queries would end counts, VACUUM or a session that
# waits for another half-way. Each with the version that brought it, as server_version_num.
_SESSION_LIMITS = {
    "statement_timeout": 0,
    "idle_session_timeout": 140000,
    "idle_in_transaction_session_timeout": 0,
    "transaction_timeout": 170000,
}

# Foreign keys are off by default; NORMAL is what Prefect's server itself sets; and a
# page cache that keeps the upper levels of the indexes.
_SQLITE_PRAGMAS = ("foreign_keys = ON", "synchronous = NORMAL", "cache_size = -32000")


_OLDEST = 140000
_VERSION = """
SELECT current_setting('server_version'), CAST(current_setting('server_version_num') AS int)
"""

_POSTGRESQL = (
    "SET timezone = 'UTC'",
    # Compiling a statement takes longer than most of them run.
    "SET jit = off",
    # The list of what goes has an index in no order, which would be written again and again.
    "SET temp_buffers = '64MB'",
    # Whether transactions may write stays as it is: a database that is kept read-only is refused.
    "SET default_transaction_isolation = 'read committed'",
    "SET default_transaction_deferrable = off",
    # The statement of a killed run would go on and hold its locks to its end; only Linux can tell.
    "SELECT set_config('client_connection_check_interval', '5s', false) "
    "WHERE version() LIKE '%linux%'",
)


def application_name() -> str:
    """Return the name under which other sessions see this run."""
    return f"prefect-maintenance {socket.gethostname()[:24]} pid {os.getpid()}"


def prepare_postgresql(connection: sa.Connection, lock_timeout: float) -> int:
    """Make a session of PostgreSQL ready; returns the server's version as a number, e.g. 140011.

    Raises:
        Unsupported: the server is too old.
    """
    shown, number = connection.execute(sa.text(_VERSION)).one()
    require_supported(shown, number)
    limits = [f"SET {limit} = 0" for limit, since in _SESSION_LIMITS.items() if number >= since]
    with_timeout = f"SET lock_timeout = '{max(1, int(lock_timeout * 1000))}ms'"
    # In one message: each takes the server less time than the way to it.
    settings = "; ".join((*limits, with_timeout, *_POSTGRESQL))
    connection.exec_driver_sql(settings, execution_options={"no_parameters": True})
    return int(number)


def require_supported(shown: str, number: int) -> None:
    """Refuse a PostgreSQL whose statements this tool does not speak.

    Raises:
        Unsupported: it is older than PostgreSQL 14.
    """
    if number < _OLDEST:
        raise Unsupported(
            f"PostgreSQL {shown} is too old, 14 or newer is needed; upgrade the database server"
        )


def prepare_sqlite(connection: sa.Connection) -> None:
    """Make a session of SQLite ready."""
    for pragma in _SQLITE_PRAGMAS:
        connection.exec_driver_sql(f"PRAGMA {pragma}")
