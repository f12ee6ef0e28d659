"""The way to the database: one connection, one transaction at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ..errors import ConnectionFailed, LockTimeout, SettingsError, Unsupported
from ..events import Events, Waiting
from ..request.database_url import default_url, parse_url
from .driver_errors import told, unreachable
from .held import Held
from .pooler import require_own_session
from .session import application_name, prepare_postgresql, prepare_sqlite

_LOCK_ATTEMPTS = 5
# Nobody queues behind one who waits for an SQLite file, and Prefect's own writers wait for a
# minute: so does this one, in attempts of the usual lock_timeout.
_FILE_ATTEMPTS, _FILE_PAUSE = 12, 0.2

T = TypeVar("T")


class Keeper(Protocol):
    """Keeps the rows that are deleted somewhere else before their deletion is committed."""

    def take(self, database: Database, table: str, sql: str, values: Mapping[str, Any]) -> int:
        """Keep the rows `x` of a table that a statement without its columns names.

        Args:
            database: in a transaction.
            table: of the rows.
            sql: reads rows `x`, with `{columns}` behind SELECT, or deletes them.
            values: that the statement binds.
        """

    def keep(self) -> None:
        """Make what was taken safe; what it raises rolls the transaction back."""

    def drop(self) -> None:
        """Forget what was taken since `keep`: it goes no more."""


@dataclass(frozen=True)
class Database:
    """An open connection to Prefect's database; every statement goes through it.

    Statements outside `transaction` and `snapshot` commit by themselves.

    Attributes:
        version: of PostgreSQL as a number, e.g. 140011; 0 on SQLite.
        events: takes the waits for locks.
        held: counts how long transactions have lasted, the wait for their begin apart.
        keeper: is given all rows that are deleted; None where nobody wants them.
    """

    connection: sa.Connection
    url: sa.URL
    dialect: str
    version: int = 0
    events: Events = field(default_factory=Events)
    held: Held = field(default_factory=Held)
    keeper: Keeper | None = None

    @property
    def is_postgresql(self) -> bool:
        """Tell PostgreSQL from SQLite."""
        return self.dialect == "postgresql"

    @property
    def driver(self) -> Any:
        """The driver's own connection, which may be cancelled from another thread.

        Raises:
            ConnectionFailed: it is lost.
        """
        with told():
            return self.connection.connection.driver_connection

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

    def delete(self, table: str, sql: str, **values: Any) -> int:
        """Delete rows of one of Prefect's tables in a transaction, and return how many.

        The keeper has them before the commit; what a foreign key takes along is not among them.

        Args:
            table: its name.
            sql: a DELETE that returns nothing.
            values: that it binds.
        """
        if self.keeper is None:
            return self.run(sql, **values)
        return self.keeper.take(self, table, sql, values)

    def ddl(self, sql: str) -> None:
        """Carry out a statement exactly as it stands: no colon or percent sign is interpreted.

        Raises:
            MaintenanceError: the database refused it.
        """
        self._execute(sql, {})

    def script(self, sql: str) -> None:
        """Carry out statements of SQLite to their very end.

        Python's driver ends one that returns nothing after its first step, and the steps of some
        are all that they do.
        """
        with told(), self.held.counted():
            try:
                self.driver.executescript(sql)
            except sqlite3.Error as error:
                raise DBAPIError(sql, None, error) from None

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
        with self.held.counted():
            try:
                yield
                if self.keeper:
                    self.keeper.keep()
            except BaseException:
                self._rollback()
                if self.keeper:
                    self.keeper.drop()
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
        for attempt in range(1, _LOCK_ATTEMPTS if self.is_postgresql else _FILE_ATTEMPTS):
            try:
                return operation()
            except LockTimeout:
                pause = 0.2 * 2**attempt if self.is_postgresql else _FILE_PAUSE
                self.events(Waiting("the database", "somebody holds a lock", pause, "lock"))
                time.sleep(pause)
        return operation()

    def _execute(self, sql: str, values: Mapping[str, Any]) -> sa.CursorResult[Any]:
        with told():
            # To look for names of values in long lists of ids takes longer than some deletions.
            if not values:
                as_it_is = {"no_parameters": True}
                return self.connection.exec_driver_sql(sql, execution_options=as_it_is)
            bound = {
                name: self.instant(value) if isinstance(value, datetime) else value
                for name, value in values.items()
            }
            return self.connection.execute(sa.text(sql), bound)

    def _plain(self, sql: str) -> None:
        with told():
            self.connection.exec_driver_sql(sql)

    def _rollback(self) -> None:
        """Roll back; a connection that is gone has rolled back already."""
        try:
            self.connection.exec_driver_sql("ROLLBACK")
        except SQLAlchemyError:
            self.connection.invalidate()


@contextmanager
def connect(
    db_url: str | sa.URL | None, lock_timeout: float, events: Events | None = None
) -> Iterator[Database]:
    """Open the database for one step and close it afterwards.

    Args:
        db_url: None is the target's own.
        lock_timeout: seconds for which a statement waits for a lock.
        events: takes the waits for locks.

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
        raise unreachable(url, error) from None
    try:
        version = 0
        with told():
            if dialect == "postgresql":
                require_own_session(url, connection)
                version = prepare_postgresql(connection, lock_timeout)
            else:
                prepare_sqlite(connection)
        yield Database(connection, url, dialect, version, events or Events())
    finally:
        connection.close()
        engine.dispose()


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
