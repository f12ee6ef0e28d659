"""Hold a table still while it is copied, and give way to whoever waits for it.

SHARE UPDATE EXCLUSIVE lets readers and writers pass and keeps out what would move rows or change
the table's shape: VACUUM FULL, CLUSTER, ALTER TABLE, CREATE INDEX, CREATE TRIGGER (PostgreSQL
manual, Explicit Locking). Somebody who waits for it is somebody whose work matters more, so the
rewrite ends at once, as autovacuum would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import psycopg2

from ..errors import GaveWay, LockTimeout, MaintenanceError
from .connection import Database
from .lock_attempts import ATTEMPT_MS, attempt_ms, hold, repeat

# Between two looks at who waits.
_PAUSE = 0.2

_WAITING = """
SELECT l.pid, l.mode, COALESCE(l.relation::regclass::text, l.locktype) FROM pg_locks l
WHERE NOT l.granted AND l.pid <> ALL (:ours)
  AND pg_blocking_pids(l.pid) && CAST(:ours AS int[])
LIMIT 1
"""

_WHO = """
SELECT COALESCE(NULLIF(application_name, ''), 'a session') || COALESCE(' as ' || usename, '')
FROM pg_stat_activity WHERE pid = :pid
"""


class Guard:
    """The session that holds the table still, and a thread of its own that looks who waits.

    Nobody else may use the session until `rest` has returned.

    Attributes:
        database: the session, in a transaction that has the lock.
        table: that is held.
        lock_timeout: seconds in which each lock must be had.
    """

    def __init__(self, database: Database, table: str, lock_timeout: float) -> None:
        self.database = database
        self.table = table
        self.lock_timeout = lock_timeout
        self._pid = backend(database)
        self._at_work: dict[int, Any] = {}
        self._over = threading.Event()
        self._failure: MaintenanceError | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def add(self, session: Database) -> int:
        """Let a session work for the rewrite: its statement ends when the rewrite gives way.

        Returns:
            Its process, for `release`.
        """
        pid = backend(session)
        self._at_work = {**self._at_work, pid: session.driver}
        return pid

    def release(self, pid: int) -> None:
        """Let a session, which is about to be closed, work for the rewrite no more."""
        self._at_work = {one: driver for one, driver in self._at_work.items() if one != pid}

    def watch(self) -> None:
        """Begin to look who waits."""
        self._thread.start()

    def rest(self) -> None:
        """Look no more; the session belongs to the caller again."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Say whether the table is still held.

        Raises:
            GaveWay: somebody waited for it.
            ConnectionFailed: the session that held it is gone.
        """
        if self._failure:
            raise self._failure

    def lock(self, mode: str) -> None:
        """Take a stronger lock on the table for the rest of the transaction.

        Raises:
            GaveWay: somebody else waits for the table.
            LockTimeout: it could not be had in the time allowed.
        """
        take(self.database, self.table, mode, self.lock_timeout, ours=self.pids())

    def _watch(self) -> None:
        while not self._failure:
            if self._over.wait(_PAUSE):
                return
            try:
                if waiter := waiting(self.database, self.pids()):
                    self._failure = GaveWay(f"{waiter}; the rewrite of {self.table} gave way")
                    self.database.run("ROLLBACK")
            except MaintenanceError as error:
                self._failure = error
        # A cancellation that comes between two statements is lost, so it is sent until the
        # rewrite has noticed.
        while not self._over.wait(0.05):
            for driver in tuple(self._at_work.values()):
                cancel(driver)

    def pids(self) -> list[int]:
        """Return the processes of the sessions that are at work for the rewrite."""
        return [self._pid, *self._at_work]


@contextmanager
def guarded(
    database: Database, table: str, lock_timeout: float, sessions: list[Database]
) -> Iterator[Guard]:
    """Hold a table still in a transaction that is committed at the end of the block.

    Nobody looks who waits before the caller says `watch`.

    Args:
        database: the session that holds it.
        table: its name.
        lock_timeout: seconds in which each lock must be had.
        sessions: at work for the rewrite.

    Raises:
        GaveWay: somebody waited for the table; what the sessions were at has ended.
        LockTimeout: the table could not be held in the time allowed.
    """
    with _holding(database, table, lock_timeout):
        guard = Guard(database, table, lock_timeout)
        for session in sessions:
            guard.add(session)
        try:
            yield guard
        except MaintenanceError:
            guard.rest()
            guard.check()
            raise
        finally:
            guard.rest()


def _holding(database: Database, table: str, lock_timeout: float) -> ExitStack:
    """Begin a transaction that holds a table still; each attempt is a transaction of its own."""

    def attempt() -> ExitStack:
        asked = attempt_ms(database, table, lock_timeout)
        with ExitStack() as opened:
            opened.enter_context(database.transaction())
            hold(database, table, asked)
            return opened.pop_all()

    return repeat(database, table, lock_timeout, attempt)


def take(
    database: Database, table: str, mode: str, lock_timeout: float, *, ours: list[int] | None = None
) -> None:
    """Take a strong lock for the rest of the transaction without making others wait long.

    Args:
        database: in a transaction.
        table: its name.
        mode: as LOCK TABLE names it.
        lock_timeout: seconds in which it must be had, in attempts of some milliseconds.
        ours: the processes of this run's sessions, by default the one of `database`.

    Raises:
        GaveWay: somebody else waits for what this transaction holds.
        LockTimeout: it could not be had in the time allowed.
    """
    pids = ours or [backend(database)]

    def attempt(work: Callable[[], None]) -> None:
        database.run("SAVEPOINT attempt")
        try:
            work()
        except LockTimeout:
            database.run("ROLLBACK TO SAVEPOINT attempt")
            raise

    def still() -> None:
        hold(database, table, attempt_ms(database, table, lock_timeout))

    def strong() -> None:
        database.ddl(f"LOCK TABLE {table} IN {mode} MODE")

    def give_way() -> None:
        if waiter := waiting(database, pids):
            raise GaveWay(waiter)

    repeat(database, table, lock_timeout, partial(attempt, still), between=give_way)
    database.run(f"SET LOCAL lock_timeout = '{ATTEMPT_MS}ms'")
    repeat(database, table, lock_timeout, partial(attempt, strong), between=give_way)


def waiting(database: Database, ours: list[int]) -> str | None:
    """Say who waits for a lock that one of our sessions holds; None when nobody does."""
    found = database.rows(_WAITING, ours=ours)
    if not found:
        return None
    pid, mode, what = found[0]
    who = database.scalar(_WHO, pid=pid) or "a session"
    return f"{who}, pid {pid}, waits for {mode.removesuffix('Lock')} on {what}"


def cancel(driver: Any) -> None:
    """End the statement that another thread has a driver's connection carry out, if any."""
    try:
        driver.cancel()
    except psycopg2.Error:
        # The session or its server is gone: whoever waits for the statement sees that too.
        return


def backend(database: Database) -> int:
    """Return the process of a session in the server; to the driver a pooler names another."""
    return int(database.scalar("SELECT pg_backend_pid()"))
