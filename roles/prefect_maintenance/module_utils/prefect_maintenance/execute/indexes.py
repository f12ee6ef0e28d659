"""Build the indexes anew that are INVALID or bloated, while everybody goes on working."""

from __future__ import annotations

from collections.abc import Iterable

from ..database.connection import Database
from ..errors import ConnectionFailed, MaintenanceError, Stopped
from ..events import IndexRebuilt, Progress
from ..measure import leftovers
from ..measure.disk_space import Disks, require_for_index
from ..pace.pace import Pace
from ..plan.indexes import IndexChoice
from .ledger import Ledger
from .reindex import rebuild

_QUOTED = """
SELECT format('%I.%I', n.nspname, i.relname), pg_relation_size(i.oid)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE x.indrelid = to_regclass(:t) AND i.relname = :i
"""


def mend(
    disks: Disks,
    choices: Iterable[IndexChoice],
    lock_timeout: float,
    pace: Pace,
    ledger: Ledger,
) -> None:
    """Build the chosen indexes anew, smallest first; one that cannot be had is left and told.

    Raises:
        Stopped: between two indexes.
        ConnectionFailed: the database is gone.
    """
    chosen = sorted((one for one in choices if one.changes), key=lambda one: one.bytes)
    for one in chosen:
        if ledger.failed(one.table):
            continue
        with ledger.working_on(one.table):
            try:
                require_for_index(disks, one.table, one.bytes - one.gives_back)
                _mend(disks.database, one, lock_timeout, pace, ledger)
            except (ConnectionFailed, Stopped):
                raise
            except MaintenanceError as error:
                ledger.warn(f"the index {one.index} of {one.table} was not built anew: {error}")


def _mend(
    database: Database, one: IndexChoice, lock_timeout: float, pace: Pace, ledger: Ledger
) -> None:
    if one.problem == "invalid":
        pace(Progress(one.table, 0, 1, "indexes"))
        _make_valid(database, one, lock_timeout)
        ledger.events(IndexRebuilt(one.table, one.index, 0))
        return
    done = rebuild(database, one.table, lock_timeout, pace, only={one.index})
    for warning in done.warnings:
        ledger.warn(warning)
    if done.indexes:
        ledger.events(IndexRebuilt(one.table, one.index, done.bytes_back))


def _make_valid(database: Database, one: IndexChoice, lock_timeout: float) -> None:
    quoted = database.scalar(_QUOTED, t=one.table, i=one.index)
    try:
        database.ddl(f"REINDEX INDEX CONCURRENTLY {quoted}")
    except ConnectionFailed:
        raise
    except MaintenanceError:
        leftovers.remove(database, one.table, lock_timeout)
        raise
