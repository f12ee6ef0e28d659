"""Wait until nobody is left whose snapshot is older than a copy, or than rows that are to move.

Whoever keeps such a snapshot and comes to the table after the swap would see none of its rows.
A transaction that begins when the copy is complete sees all of them, so it is enough to outlive
those that are there at that instant. Which they are, everybody may see in pg_locks; that one
holds no snapshot, or a younger one, only a role with pg_read_all_stats can tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..database.connection import Database
from ..errors import LockTimeout
from ..events import Waiting

# A standby with hot_standby_feedback tells what it still reads only every ten seconds
# (wal_receiver_status_interval), so its answer needs more time than a session here.
_FEEDBACK = 30.0
_PAUSE = 0.05

# Autovacuum shows no user; it reads no table but the one that it vacuums. What others are at is
# NULL for a role without pg_read_all_stats, and then only the end of the transaction tells.
_TRANSACTIONS = """
SELECT l.virtualtransaction,
       COALESCE(NULLIF(a.application_name, ''), 'a session') || ' as ' || a.usename
           || ', pid ' || a.pid,
       a.state IS NULL
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> ALL (:ours)
  AND a.datname = current_database() AND a.usesysid IS NOT NULL
  AND NOT COALESCE(a.state LIKE 'idle in transaction%' AND a.backend_xmin IS NULL
                   AND (a.backend_xid IS NULL OR NOT :writers), FALSE)
  AND NOT COALESCE(age(a.backend_xmin) < age(CAST(CAST(:copied AS text) AS xid)), FALSE)
"""

_STANDBYS = """
SELECT 'replication slot ' || slot_name FROM pg_replication_slots
WHERE xmin IS NOT NULL AND age(xmin) >= age(CAST(CAST(:copied AS text) AS xid))
UNION ALL
SELECT 'standby ' || COALESCE(NULLIF(application_name, ''), host(client_addr), '')
FROM pg_stat_replication
WHERE backend_xmin IS NOT NULL
  AND age(backend_xmin) >= age(CAST(CAST(:copied AS text) AS xid))
UNION ALL
SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
WHERE :writers AND database = current_database()
  AND age(transaction) >= age(CAST(CAST(:copied AS text) AS xid))
"""

_OLDEST = """
SELECT COALESCE(NULLIF(application_name, ''), 'a session') || ' as ' || usename || ', pid ' || pid
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
  AND COALESCE(backend_xmin, backend_xid) IS NOT NULL
ORDER BY GREATEST(age(backend_xmin), age(backend_xid)) DESC LIMIT 1
"""


def oldest(database: Database) -> str:
    """Name the session that most likely keeps VACUUM from removing what is dead."""
    return str(database.scalar(_OLDEST) or "somebody")


def outlive(
    database: Database,
    table: str,
    lock_timeout: float,
    ours: list[int],
    ask: Callable[[], None],
    harm: str = "see {table} empty",
    *,
    writers: bool = False,
) -> None:
    """Wait, without a lock, until everybody sees what is committed by now.

    Args:
        database: outside of a transaction, or it would be shown the same sessions for ever.
        table: that is worked on; for the text.
        lock_timeout: seconds to wait for sessions.
        ours: processes whose transactions do not matter.
        ask: called again and again; what it raises ends the wait.
        harm: what an older snapshot would do, for the text.
        writers: wait also for transactions without a snapshot that have written something; they
            too keep VACUUM from removing what is dead since.

    Raises:
        LockTimeout: one is still there after the time allowed; the text names it.
    """
    would = harm.format(table=table)
    copied = str(database.scalar("SELECT CAST(pg_current_xact_id() AS xid)"))
    began = told = time.monotonic()
    older = None
    while True:
        found = {
            transaction: (who, hidden)
            for transaction, who, hidden in database.rows(
                _TRANSACTIONS, ours=ours, copied=copied, writers=writers
            )
        }
        older = set(found) if older is None else older & set(found)
        standby = database.scalar(_STANDBYS, copied=copied, writers=writers)
        if not older and not standby:
            return
        now = time.monotonic()
        why = f"somebody's snapshot would {would}"
        database.events(Waiting(table, why, now - told, "snapshots"))
        waited, told = now - began, now
        if older and waited > lock_timeout:
            raise LockTimeout(_told(database, would, *found[min(older)]))
        if waited > max(lock_timeout, _FEEDBACK):
            raise LockTimeout(
                f"{standby} keeps a snapshot that would {would}; run at a quieter hour"
            )
        ask()
        time.sleep(_PAUSE)


def _told(database: Database, would: str, who: str, hidden: bool) -> str:
    if not hidden:
        return f"{who} is in a transaction whose snapshot would {would}; end it and run again"
    role = database.scalar("SELECT quote_ident(current_user)")
    return (
        f"{who} is in a transaction whose snapshot may {would}; end it, or "
        f"GRANT pg_read_all_stats TO {role}, which shows those that hold no snapshot"
    )
