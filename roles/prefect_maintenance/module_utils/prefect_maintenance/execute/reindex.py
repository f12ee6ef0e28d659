"""Build the indexes of a table anew while everybody goes on working, one after the other."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..database.connection import Database
from ..database.set_for import NOT_ON_DISK, set_for
from ..errors import DiskFull, LockTimeout, MaintenanceError
from ..events import Progress, Waiting
from ..measure import leftovers
from ..pace.pace import Pace

# Of an index without a row: a smaller one has nothing to give back.
_LEAST = 2 * 8192
# An index of an exclusion constraint cannot be built beside itself (PostgreSQL manual, REINDEX).
_INDEXES = """
SELECT i.relname, format('%I.%I', n.nspname, i.relname), pg_relation_size(i.oid)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE x.indrelid = to_regclass(:t) AND x.indisvalid AND NOT x.indisexclusion
  AND pg_relation_size(i.oid) > :least
ORDER BY pg_relation_size(i.oid), i.relname
"""
# Who has the table, or a snapshot: a new index takes the place of the old one when all of them are
# gone. Autovacuum, which shows no user, gives way by itself.
_OTHERS = """
SELECT l.virtualtransaction, CASE WHEN l.pid IS NULL THEN 'a prepared transaction' ELSE
       COALESCE(NULLIF(a.application_name, ''), 'a session') || ' as ' || a.usename END
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND (l.pid IS NULL OR a.usesysid IS NOT NULL)
  AND l.database IS NOT DISTINCT FROM CASE WHEN l.locktype = 'virtualxid' THEN NULL ELSE
      (SELECT oid FROM pg_database WHERE datname = current_database()) END
  AND (l.relation = to_regclass(:t)
       OR (l.locktype = 'virtualxid' AND a.datname = current_database()
           AND a.backend_xmin IS NOT NULL))
"""
DROPPED = "somebody dropped it meanwhile"
# Between two looks who is still there; each pause is twice as long as the one before.
_FIRST_PAUSE, _LAST_PAUSE = 0.002, 0.05
# Nothing of an index that is not there.
_BYTES = "SELECT pg_relation_size(to_regclass(:i))"


@dataclass(frozen=True)
class Rebuilt:
    """Indexes that were built anew.

    Attributes:
        indexes: their bytes now, by name.
        bytes_back: that they are smaller now.
        copy_bytes: of the largest new one: the disk that was needed beside the old one.
        warnings: what was left as it was, and why.
    """

    indexes: Mapping[str, int]
    bytes_back: int
    copy_bytes: int
    warnings: tuple[str, ...] = ()


def rebuild(
    database: Database,
    table: str,
    lock_timeout: float,
    pace: Pace,
    only: Collection[str] | None = None,
) -> Rebuilt:
    """Build the indexes of a table anew, smallest first; nobody is kept from the table.

    What cannot be had is left as it was and told. Indexes that are not valid are not touched.

    Args:
        database: on PostgreSQL, as the table's owner.
        table: its name.
        lock_timeout: seconds to wait for locks, and for transactions older than the new index.
        pace: asked before each index whether to go on.
        only: the names of those to be built; all of them without it.

    Raises:
        Stopped: between two indexes.
        ConnectionFailed: the session is gone; the next step removes what lies beside the index.
    """
    found = [
        (name, quoted, int(size))
        for name, quoted, size in database.rows(_INDEXES, t=table, least=_LEAST)
        if only is None or name in only
    ]
    with set_for(database, NOT_ON_DISK):
        return _rebuilt(database, table, lock_timeout, pace, found)


def _rebuilt(
    database: Database,
    table: str,
    lock_timeout: float,
    pace: Pace,
    found: Sequence[tuple[str, str, int]],
) -> Rebuilt:
    done: dict[str, int] = {}
    warnings: list[str] = []
    back = copied = 0
    for place, (name, quoted, before) in enumerate(found):
        pace(Progress(table, place, len(found), "indexes"))
        try:
            outlive_others(database, table, lock_timeout)
            database.ddl(f"REINDEX INDEX CONCURRENTLY {quoted}")
        except (LockTimeout, DiskFull) as error:
            # Whoever is in the way of one would be in the way of the others.
            left = ", ".join(name for name, *_ in found[place:])
            warnings.append(f"of {table} were not built anew: {left}: {error}")
            warnings += _removed(database, table, lock_timeout)
            break
        except MaintenanceError:
            if database.scalar(_BYTES, i=quoted) is not None:
                raise
        after = database.scalar(_BYTES, i=quoted)
        if after is None:
            warnings.append(f"index {name} of {table} was not built anew: {DROPPED}")
            continue
        done[name] = int(after)
        back, copied = back + before - done[name], max(copied, done[name])
    return Rebuilt(done, back, copied, tuple(warnings))


def outlive_others(database: Database, table: str, lock_timeout: float) -> None:
    """Wait until those are gone for whom the new index would wait when it is built already.

    Given up then, it would lie there until they are gone.

    Raises:
        LockTimeout: somebody is still there after the time allowed.
    """
    began = told = time.monotonic()
    pause = _FIRST_PAUSE
    there: dict[str, str] | None = None
    while True:
        now = dict(database.rows(_OTHERS, t=table))
        there = now if there is None else {key: now[key] for key in there if key in now}
        if not there:
            return
        waited, told = time.monotonic() - told, time.monotonic()
        database.events(Waiting(table, "somebody uses it in a transaction", waited, "lock"))
        if told - began > lock_timeout:
            who = ", ".join(sorted(set(there.values())))
            raise LockTimeout(f"{who} uses {table}, or keeps a snapshot; run again")
        time.sleep(pause)
        pause = min(2 * pause, _LAST_PAUSE)


def _removed(database: Database, table: str, lock_timeout: float) -> list[str]:
    try:
        leftovers.remove(database, table, lock_timeout)
    except LockTimeout as error:
        return [f"what lies beside it goes with the next step: {error}"]
    return []
