"""The way to the database: one connection, one transaction at a time, one maintenance run."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ..errors import (
    Busy,
    ConnectionFailed,
    DiskFull,
    LockTimeout,
    MaintenanceError,
    PrivilegeError,
    SettingsError,
    Unsupported,
)
from ..request.database_url import database_secrets, parse_url
from ..request.masking import Mask
from .pooler import require_own_session, shared
from .sqlite_lock import lock_file

# Any constant would do, as long as every version of this tool uses the same one.
LOCK_KEY = 0x0507_EFEC_7DB0_1EA4

_LOCK_ATTEMPTS = 5

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

T = TypeVar("T")


@dataclass(frozen=True)
class Database:
    """An open connection to Prefect's database; every statement goes through it.

    Statements outside `transaction` and `snapshot` commit by themselves.
    """

    connection: sa.Connection
    url: sa.URL
    dialect: str

    @property
    def is_postgresql(self) -> bool:
        """Tell PostgreSQL from SQLite."""
        return self.dialect == "postgresql"

    @property
    def file(self) -> Path:
        """The file of an SQLite database."""
        return Path(str(self.url.database))

    def instant(self, value: datetime) -> Any:
        """Return an instant in the form that Prefect stores it in this dialect.

        SQLite holds times as text in UTC, so they compare as text only in exactly this form.
        """
        if self.is_postgresql:
            return value
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    def rows(self, sql: str, **values: Any) -> list[Any]:
        """Return all rows of a query."""
        return list(self._execute(sql, values).fetchall())

    def scalar(self, sql: str, **values: Any) -> Any:
        """Return the first column of the first row, or None."""
        return self._execute(sql, values).scalar()

    def run(self, sql: str, **values: Any) -> int:
        """Carry out a statement and return the rows it touched."""
        return max(0, self._execute(sql, values).rowcount)

    def ddl(self, sql: str) -> None:
        """Carry out a statement exactly as it stands: no colon or percent sign is interpreted.

        Raises:
            MaintenanceError: the database refused it.
        """
        self._execute(sql, None)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside, or nothing of it.

        Each statement sees what others have committed before it, whatever the role, database or
        server has for a default: a rewrite that settled changes on an old snapshot would lose them.
        SQLite takes the write lock at once, because a transaction that reads first and writes
        later fails immediately when another writer came between.
        """
        self._plain(
            "BEGIN ISOLATION LEVEL READ COMMITTED" if self.is_postgresql else "BEGIN IMMEDIATE"
        )
        try:
            yield
        except BaseException:
            self._rollback()
            raise
        self._plain("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See one state of the database throughout, unable to write to any but temporary tables."""
        if self.is_postgresql:
            self._plain("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY NOT DEFERRABLE")
        else:
            self._plain("BEGIN")
        try:
            yield
        except BaseException:
            self._rollback()
            raise
        self._plain("COMMIT")

    def wal_bytes(self) -> int:
        """Return how much WAL the whole server has ever written; 0 on SQLite."""
        if not self.is_postgresql:
            return 0
        return int(self.scalar("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))

    def retry_on_lock(self, operation: Callable[[], T]) -> T:
        """Carry out a transaction that may lose against a lock or a deadlock a few times.

        Raises:
            LockTimeout: it lost every time.
        """
        for attempt in range(1, _LOCK_ATTEMPTS):
            try:
                return operation()
            except LockTimeout:
                time.sleep(0.2 * 2**attempt)
        return operation()

    def _execute(self, sql: str, values: Mapping[str, Any] | None) -> sa.CursorResult[Any]:
        try:
            if values is None:
                return self.connection.exec_driver_sql(
                    sql, execution_options={"no_parameters": True}
                )
            bound = {
                name: self.instant(value) if isinstance(value, datetime) else value
                for name, value in values.items()
            }
            return self.connection.execute(sa.text(sql), bound)
        except DBAPIError as error:
            raise _translated(error) from None
        except PendingRollbackError:
            raise ConnectionFailed("the connection to the database is lost; run again") from None

    def _plain(self, sql: str) -> None:
        try:
            self.connection.exec_driver_sql(sql)
        except DBAPIError as error:
            raise _translated(error) from None

    def _rollback(self) -> None:
        """Roll back; a connection that is gone has rolled back already."""
        try:
            self.connection.exec_driver_sql("ROLLBACK")
        except SQLAlchemyError:
            self.connection.invalidate()


def default_url() -> str:
    """Return the target's own database URL: PREFECT_DB_URL_SYNC, else Prefect's setting."""
    if url := os.environ.get("PREFECT_DB_URL_SYNC"):
        return url
    # Prefect takes longer to import than most steps do without it.
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    value = PREFECT_API_DATABASE_CONNECTION_URL.value()
    url = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    if not url:
        raise SettingsError("no db_url: set it, or PREFECT_DB_URL_SYNC on the target")
    return str(url)


@contextmanager
def connect(db_url: str | sa.URL | None, lock_timeout: float) -> Iterator[Database]:
    """Open the database for one step and close it afterwards.

    Raises:
        ConnectionFailed: it cannot be reached or refuses the credentials.
        Unsupported: it is too old, of another dialect, or a pool gives its sessions to others.
    """
    url = parse_url(db_url or default_url())
    dialect = url.get_backend_name()
    engine = _postgresql(url) if dialect == "postgresql" else _sqlite(url, lock_timeout)
    try:
        connection = engine.connect()
    except DBAPIError as error:
        raise _unreachable(url, error) from None
    try:
        database = Database(connection=connection, url=url, dialect=dialect)
        if database.is_postgresql:
            require_own_session(url, connection)
            _prepare_postgresql(database, lock_timeout)
        else:
            for pragma in _SQLITE_PRAGMAS:
                database._plain(f"PRAGMA {pragma}")
        yield database
    finally:
        connection.close()
        engine.dispose()


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


def application_name() -> str:
    """Return the name under which other sessions see this run."""
    return f"prefect-maintenance {socket.gethostname()[:24]} pid {os.getpid()}"


def _postgresql(url: sa.URL) -> sa.Engine:
    return sa.create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"application_name": application_name(), "connect_timeout": 10},
    )


def _sqlite(url: sa.URL, lock_timeout: float) -> sa.Engine:
    if sqlite3.sqlite_version_info < (3, 35):
        raise Unsupported(
            f"SQLite {sqlite3.sqlite_version} is too old, 3.35 or newer is needed; use another "
            "Python, named in base_python"
        )
    path = Path(str(url.database or ""))
    if not url.database or url.database == ":memory:":
        raise SettingsError("db_url names an SQLite database in memory; name a file")
    if not path.is_file():
        raise ConnectionFailed(f"there is no SQLite database at {path}; check db_url")
    return sa.create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": lock_timeout},
    )


def _prepare_postgresql(database: Database, lock_timeout: float) -> None:
    version = int(database.scalar("SHOW server_version_num"))
    if version < 140000:
        shown = database.scalar("SHOW server_version")
        raise Unsupported(
            f"PostgreSQL {shown} is too old, 14 or newer is needed; upgrade the database server"
        )
    for limit, since in _SESSION_LIMITS.items():
        if version >= since:
            database.run(f"SET {limit} = 0")
    database.run(f"SET lock_timeout = '{max(1, int(lock_timeout * 1000))}ms'")
    database.run("SET timezone = 'UTC'")
    # Compiling a statement takes longer than most of them run.
    database.run("SET jit = off")
    # The list of what goes has an index in no order, which would be written again and again.
    database.run("SET temp_buffers = '64MB'")
    # Whether transactions may write stays as it is: a database that is kept read-only is refused.
    database.run("SET default_transaction_isolation = 'read committed'")
    database.run("SET default_transaction_deferrable = off")
    # The statement of a killed run would go on and hold its locks to its end; only Linux can tell.
    database.run(
        "SELECT set_config('client_connection_check_interval', '5s', false) "
        "WHERE version() LIKE '%linux%'"
    )


def _holder(database: Database) -> str:
    found = database.rows(
        """
        SELECT a.application_name, a.usename, host(a.client_addr), a.backend_start
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND (l.classid::bigint << 32) | l.objid::bigint = :key
        """,
        key=LOCK_KEY,
    )
    if not found:
        return "another maintenance run held this database a moment ago; run again"
    name, user, address, since = found[0]
    return (
        f"another maintenance run is at work on this database: {name or 'unnamed'} as {user}"
        f"{f' from {address}' if address else ''}, since {since:%Y-%m-%d %H:%M:%S} UTC; "
        "wait for it, or stop it with playbooks/stop.yml"
    )


def _unreachable(url: sa.URL, error: DBAPIError) -> MaintenanceError:
    where = f"{url.host or 'local socket'}:{url.port or 5432}/{url.database}"
    text = Mask.of(database_secrets(url)).text(_first_line(error))
    advice = "check host, port and that the server runs"
    if "password authentication failed" in text or "no password supplied" in text:
        advice = "check user and password"
    elif "does not exist" in text:
        advice = "check the database and user name"
    elif "SSL" in text or "certificate" in text:
        advice = "check sslmode and sslrootcert"
    elif "No space left on device" in text:
        advice = "the database server's disk is full: make room outside the database first"
    if not url.host and url.get_backend_name() == "sqlite":
        where, advice = str(url.database), "check the path and its permissions"
    return ConnectionFailed(f"cannot connect to the database {where}: {text}; {advice}")


def _translated(error: DBAPIError) -> MaintenanceError:
    """Turn a driver's error into one line of ours; never the statement, never its values."""
    text = _first_line(error)
    code = getattr(error.orig, "pgcode", None) or ""
    if code == "42501":
        return PrivilegeError(
            f"{text}; grant it to the role in db_url, as playbooks/privileges.yml does"
        )
    if code in ("55P03", "40P01") or "database is locked" in text:
        return LockTimeout(
            f"a lock could not be had in time: {text}; raise lock_timeout, or run again off-peak"
        )
    if code == "53100" or "disk is full" in text:
        return DiskFull(
            f"the database server's disk is full: {text}; free some disk outside the database, "
            "then shorten the retention and run again"
        )
    if error.connection_invalidated or code.startswith(("08", "57P")):
        return ConnectionFailed(f"the connection to the database was lost: {text}; run again")
    if "readonly database" in text or "read-only" in text:
        return PrivilegeError(
            f"the database cannot be written to: {text}; name the primary in db_url, or run as "
            "the owner of the SQLite file"
        )
    return MaintenanceError(f"the database answered: {text}; look at the database server's log")


def _first_line(error: DBAPIError) -> str:
    text = re.sub(r"\s+", " ", str(error.orig).strip().partition("\n")[0])
    return text or type(error.orig).__name__
