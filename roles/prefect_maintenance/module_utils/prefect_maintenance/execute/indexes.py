"""Build the indexes anew that are INVALID or bloated, while everybody goes on working."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ConnectionFailed, MaintenanceError, Stopped
from ..events import IndexRebuilt, Progress
from ..measure import leftovers
from ..measure.disk_space import shortage
from ..plan.indexes import IndexChoice
from .reclaim import Reclaim
from .reindex import rebuild

_QUOTED = """
SELECT format('%I.%I', n.nspname, i.relname)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE x.indrelid = to_regclass(:t) AND i.relname = :i
"""


def mend(job: Reclaim, choices: Iterable[IndexChoice]) -> None:
    """Build the chosen indexes anew, smallest first; one that cannot be had is left and told.

    Raises:
        Stopped: between two indexes.
        ConnectionFailed: the database is gone.
    """
    chosen = sorted((one for one in choices if one.changes), key=lambda one: one.bytes)
    for one in chosen:
        if job.ledger.failed(one.table):
            continue
        with job.ledger.working_on(one.table):
            if lacking := shortage(job.disks, one.bytes - one.gives_back, one.table):
                job.ledger.warn(_not_built(one, lacking))
                continue
            try:
                _mend(job, one)
            except (ConnectionFailed, Stopped):
                raise
            except MaintenanceError as error:
                job.ledger.warn(_not_built(one, str(error)))


def _not_built(one: IndexChoice, why: str) -> str:
    return f"the index {one.index} of {one.table} was not built anew: {why}"


def _mend(job: Reclaim, one: IndexChoice) -> None:
    if one.problem == "invalid":
        job.pace(Progress(one.table, 0, 1, "indexes"))
        _make_valid(job, one)
        job.ledger.events(IndexRebuilt(one.table, one.index, 0))
        return
    done = rebuild(job.database, one.table, job.lock_timeout, job.pace, only={one.index})
    for warning in done.warnings:
        job.ledger.warn(warning)
    if done.indexes:
        job.ledger.events(IndexRebuilt(one.table, one.index, done.bytes_back))


def _make_valid(job: Reclaim, one: IndexChoice) -> None:
    quoted = job.database.scalar(_QUOTED, t=one.table, i=one.index)
    try:
        job.database.ddl(f"REINDEX INDEX CONCURRENTLY {quoted}")
    except ConnectionFailed:
        raise
    except MaintenanceError:
        leftovers.remove(job.database, one.table, job.lock_timeout)
        raise
