"""Ask for a strong lock a few milliseconds at a time, so that nobody queues behind the question.

While a strong lock is asked for, everybody who comes queues behind the asker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import LockTimeout
from ..events import Waiting
from .connection import Database

# The longest that others stand behind an attempt. It is shorter than deadlock_timeout (1 s), so in
# a deadlock it is always the asker who gives way.
ATTEMPT_MS = 50
# Autovacuum ends itself for somebody who has waited longer than deadlock_timeout.
_AUTOVACUUM_MS = 2000
# It shows no user.
_AUTOVACUUM = """
SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = to_regclass(:t) AND l.granted AND l.mode = 'ShareUpdateExclusiveLock'
  AND a.usesysid IS NULL
"""
# Between two attempts whoever came meanwhile goes first.
_PAUSE = 0.2
# An attempt that lasted longer had its lock and was at work: again it would cost as much again.
_WORKED = 1.0

# A prepared transaction has no process; a role without pg_read_all_stats sees no xact_start.
_HOLDERS = """
SELECT DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction' ELSE
       COALESCE(NULLIF(a.application_name, ''), 'a session') || COALESCE(' as ' || a.usename, '')
       || COALESCE(' since ' || to_char(a.xact_start, 'HH24:MI:SS'), '') END
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = to_regclass(:t) AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
"""

_MAY_LOCK = "SELECT has_table_privilege(to_regclass(:t), 'UPDATE, DELETE, TRUNCATE')"

T = TypeVar("T")


def in_attempts(database: Database, table: str, lock_timeout: float, work: Callable[[], T]) -> T:
    """Carry out a statement that locks a table against everybody and can stand in no transaction.

    Whoever comes while the lock is asked for waits for one attempt at most. The statement's later
    locks, of indexes and TOAST, are asked for as briefly, because it then keeps everybody out.

    Args:
        database: on PostgreSQL.
        table: its name.
        lock_timeout: seconds in which the lock must be had.
        work: carries out the statement; raises LockTimeout when a lock was not to be had.

    Raises:
        LockTimeout: it could not be had; the text says who holds it.
    """
    before = str(database.scalar("SHOW lock_timeout"))
    try:
        _send_autovacuum_away(database, table, lock_timeout)
    except LockTimeout:
        raise _not_had(database, table, lock_timeout) from None
    database.run(f"SET lock_timeout = '{ATTEMPT_MS}ms'")
    try:
        return repeat(database, table, lock_timeout, work)
    finally:
        if not database.connection.invalidated:
            database.run(f"SET lock_timeout = '{before}'")


def repeat(
    database: Database,
    table: str,
    lock_timeout: float,
    attempt: Callable[[], T],
    between: Callable[[], None] = lambda: None,
) -> T:
    """Repeat an attempt until it has its lock; the session's lock_timeout bounds each.

    Args:
        database: on PostgreSQL.
        table: whose lock is asked for.
        lock_timeout: seconds in which it must be had.
        attempt: raises LockTimeout when the lock was not to be had.
        between: called after each attempt that failed; what it raises ends the attempts.

    Raises:
        LockTimeout: it could not be had; the text says who holds it.
    """
    told = time.monotonic()
    until = told + lock_timeout
    while True:
        begun = time.monotonic()
        try:
            return attempt()
        except LockTimeout:
            now = time.monotonic()
        why = f"somebody holds a lock on {table}"
        database.events(Waiting(table, why, now - told, "lock"))
        told = now
        between()
        if now > until or now - begun > _WORKED:
            raise _not_had(database, table, lock_timeout)
        time.sleep(_PAUSE)


def attempt_ms(database: Database, table: str, lock_timeout: float) -> int:
    """Return for how long to ask for a lock that lets readers and writers pass, in milliseconds.

    Autovacuum gives way to nobody who asks briefly. Anybody else may build an index concurrently:
    he waits for each transaction with a snapshot, and one that waits for a lock may have one, so
    that a longer wait for him is a deadlock.

    Args:
        database: outside of a transaction whose snapshot is to come after the lock.
        table: its name.
        lock_timeout: seconds in which the lock must be had.
    """
    if not database.scalar(_AUTOVACUUM, t=table):
        return ATTEMPT_MS
    return max(int(lock_timeout * 1000), _AUTOVACUUM_MS)


def hold(database: Database, table: str, asked: int) -> None:
    """Take SHARE UPDATE EXCLUSIVE for the rest of the transaction.

    Args:
        database: in a transaction.
        table: its name.
        asked: milliseconds, see `attempt_ms`.

    Raises:
        LockTimeout: it could not be had in that time.
    """
    before = str(database.scalar("SHOW lock_timeout"))
    database.run(f"SET LOCAL lock_timeout = '{asked}ms'")
    database.ddl(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
    database.run(f"SET LOCAL lock_timeout = '{before}'")


def _send_autovacuum_away(database: Database, table: str, lock_timeout: float) -> None:
    """Wait for a lock that lets readers and writers pass, if autovacuum has it."""
    asked = attempt_ms(database, table, lock_timeout)
    # Whoever may VACUUM as owner of the database alone may not LOCK.
    if asked > ATTEMPT_MS and database.scalar(_MAY_LOCK, t=table):
        with database.transaction():
            hold(database, table, asked)


def _not_had(database: Database, table: str, lock_timeout: float) -> LockTimeout:
    return LockTimeout(
        f"the lock on {table} could not be had in {lock_timeout:g} s: {holders(database, table)}; "
        "run again in a quieter hour"
    )


def holders(database: Database, table: str) -> str:
    """Name the sessions that hold a lock on a table."""
    found = [row[0] for row in database.rows(_HOLDERS, t=table)]
    return "held by " + ", ".join(found) if found else "the holder has gone just now"
