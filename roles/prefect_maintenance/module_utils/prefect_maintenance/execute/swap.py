"""The instant in which the copy takes the place of the table, and all is looked at once more."""

from __future__ import annotations

import time

from ..database.lock_bound import transaction_at_most
from ..measure import leftovers, relations
from ..plan.holds import LATE
from ..request.instants import now
from .copy import insert, settle
from .rewrite_job import LIVE, REVIVED, Grown, Refused, Work, require_whole

# Flow runs `f` whose rows stayed when the rows that were left out were looked for; and those whose
# rows stay since. Under the lock nothing reads all runs: holds are looked for among rows that have
# changed since an hour before that look, which covers clocks that differ.
_LIVE = f"""
CREATE TEMPORARY TABLE {LIVE} ON COMMIT DROP AS SELECT f.id FROM flow_run f WHERE {{live}}
"""
_REVIVED = f"""
CREATE TEMPORARY TABLE {REVIVED} ON COMMIT DROP AS
SELECT w.id FROM ({{woken}}) w WHERE NOT EXISTS (SELECT 1 FROM {LIVE} l WHERE l.id = w.id)
"""


def swap(work: Work, file: int) -> tuple[float, Grown]:
    """Let the copy take the place of the table, in the transaction that holds it.

    Args:
        work: the rewrite.
        file: of the table when the copy began.

    Returns:
        When the strong lock was had (monotonic seconds), and what grew meanwhile.

    Raises:
        HeldTooLong: it kept everybody out for longer than the job allows.
    """
    job, database = work.job, work.job.database
    indexes = relations.indexes(database, job.table)
    grown = Grown(copy=_missed(work))
    work.guard.lock("ACCESS EXCLUSIVE")
    began = time.monotonic()
    with transaction_at_most(database, f"the swap of {job.table}", job.max_lock):
        grown += _exchanged(work, file, indexes)
    return began, grown


def _exchanged(work: Work, file: int, indexes: list[relations.Index]) -> Grown:
    """Do under the lock what a swap consists of; returns what grew with the last changes."""
    job, names, database = work.job, work.names, work.job.database
    if relations.files(database, job.table) != file:
        raise Refused(f"the rows of {job.table} were moved meanwhile")
    if relations.followed(database, job.table) != len(names.triggers):
        raise Refused(f"the triggers that follow {job.table} were switched off meanwhile")
    grown = settle(work, database).grown
    grown += Grown(copy=_revived(work))
    leftovers.drop_triggers(database, names)
    database.ddl(f"ALTER TABLE {names.table} RENAME TO {names.old_name}")
    for index in indexes:
        database.ddl(f"ALTER INDEX {names.schema}.{index.name} RENAME TO {index.beside}")
    database.ddl(f"ALTER TABLE {names.copy} RENAME TO {names.bare}")
    for index in indexes:
        database.ddl(f"ALTER INDEX {names.schema}.{index.temporary} RENAME TO {index.name}")
    # Only now: a GRANT takes no lock on the table, but none can change a row of the catalog
    # that this transaction has changed.
    require_whole(job, names.old)
    if changed := _differences(work):
        raise Refused(f"the copy of {job.table} differs from it in {', '.join(changed)}")
    return grown


def _missed(work: Work) -> int:
    """Copy rows whose run came to life or to be held since they were left out; returns how many."""
    job, database = work.job, work.job.database
    if not job.live:
        return 0
    job.bound["held_since"] = now() - LATE
    database.run(_LIVE.format(live=job.live), **job.bound)
    return _copied_late(work, job.missed)


def _revived(work: Work) -> int:
    """The same under the lock, and only for runs of which that became so since `_missed`."""
    job, database = work.job, work.job.database
    if not job.live or not database.run(_REVIVED.format(woken=job.woken), **job.bound):
        return 0
    return _copied_late(work, job.revived)


def _copied_late(work: Work, keeps: tuple[str, ...]) -> int:
    rows = 0
    for keep in keeps:
        late = (
            f"{keep} AND NOT EXISTS (SELECT 1 FROM {work.job.table}__maintenance_new c "
            "WHERE c.id = x.id)"
        )
        rows += work.job.database.run(insert(work, late), **work.job.bound)
    return rows


def _differences(work: Work) -> list[str]:
    """Name what of the old table the new one does not have or has otherwise."""
    there = relations.shape(work.job.database, work.names.old)
    made = relations.shape(work.job.database, work.names.table)
    return sorted(key for key in made if there.get(key) != made[key])
