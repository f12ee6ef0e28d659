"""Build the indexes anew that are INVALID or bloated, while everybody goes on working."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import ConnectionFailed, MaintenanceError, Stopped
from ..events import IndexRebuilt, Progress
from ..measure import leftovers
from ..measure.disk_space import NoRoom, require_for_index
from ..plan.indexes import IndexChoice
from .reclaim import Reclaim
from .reindex import DROPPED, outlive_others, rebuild

_INDEX = """
SELECT format('%I.%I', n.nspname, i.relname)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE x.indrelid = to_regclass(:t) AND i.relname = :i
"""


def mend(job: Reclaim, choices: Iterable[IndexChoice]) -> None:
    """Build the chosen indexes anew, smallest first; what cannot be had is left and told.

    Raises:
        Stopped: between two indexes.
        ConnectionFailed: the database is gone.
    """
    tables: dict[str, list[IndexChoice]] = {}
    for one in choices:
        if one.changes and not job.ledger.failed(one.table):
            tables.setdefault(one.table, []).append(one)
    for table, chosen in tables.items():
        with job.ledger.working_on(table):
            fitting = [one for one in chosen if _fits(job, one)]
            for one in fitting:
                if one.problem == "invalid":
                    _make_valid(job, one)
            _rebuild(job, table, {one.index: one for one in fitting if one.problem == "bloated"})


def _fits(job: Reclaim, one: IndexChoice) -> bool:
    try:
        require_for_index(job.disks, one.table, one.bytes - one.gives_back)
    except NoRoom as error:
        job.ledger.warn(_not_built(one, error))
        return False
    return True


def _not_built(one: IndexChoice, why: MaintenanceError) -> str:
    return f"the index {one.index} of {one.table} was not built anew: {why}"


def _rebuild(job: Reclaim, table: str, chosen: Mapping[str, IndexChoice]) -> None:
    if not chosen:
        return
    done = rebuild(job.database, table, job.lock_timeout, job.pace, only=set(chosen))
    for warning in done.warnings:
        job.ledger.warn(warning)
    for index, size in done.indexes.items():
        job.ledger.events(IndexRebuilt(table, index, chosen[index].bytes - size))


def _make_valid(job: Reclaim, one: IndexChoice) -> None:
    database, table = job.database, one.table
    job.pace(Progress(table, 0, 1, "indexes"))
    quoted = database.scalar(_INDEX, t=table, i=one.index)
    if quoted is None:
        job.ledger.warn(_not_built(one, MaintenanceError(DROPPED)))
        return
    try:
        outlive_others(database, table, job.lock_timeout)
        database.ddl(f"REINDEX INDEX CONCURRENTLY {quoted}")
    except (ConnectionFailed, Stopped):
        raise
    except MaintenanceError as error:
        job.ledger.warn(_not_built(one, error))
        leftovers.remove(database, table, job.lock_timeout)
    else:
        job.ledger.events(IndexRebuilt(table, one.index, 0))
