"""What a rewrite leaves behind is archived before its swap.

A row goes when it is in the table and not in its copy. Once the copy has caught up, these are read
from the table and the copy themselves, whatever has decided about each. From then on a row can
come to be among them only by a change to it, which the trigger writes down, or because it is taken
out of the copy, which only settling does; and settling archives whatever of its rows the copy does
not have, the last of them in the transaction of the swap itself. So the old table may be dropped
as soon as the swap is committed, by whomever.
"""

from __future__ import annotations

from ..database.connection import Database
from .archive_rows import archive_rows
from .batches import heap_slices
from .rewrite_job import Work

# Rows of the table that are looked at in one transaction, so that no snapshot is held for long.
_PIECE = 500_000

_LEFT_OUT = (
    "FROM {table} x WHERE {where} "
    "AND NOT EXISTS (SELECT 1 FROM {table}__maintenance_new c WHERE c.id = x.id)"
)
_SETTLED = "x.id IN (SELECT s.id FROM prefect_maintenance_settled s)"


def archive_left_out(work: Work, copied: int) -> None:
    """Archive the rows of the table that its copy does not have.

    Args:
        work: the rewrite; the copy has caught up.
        copied: rows of the copy, each of which is looked at once a piece.
    """
    if work.copier.keeper is None:
        return
    table, done = work.job.table, 0
    for where in heap_slices(work.copier, table, lambda: max(_PIECE, copied)):
        with work.copier.transaction():
            rows = _LEFT_OUT.format(table=table, where=where)
            done += archive_rows(work.copier, table, rows)
        work.go_on(done, max(done, work.job.expected), "rows archived")


def archive_settled(work: Work, database: Database) -> None:
    """Archive the rows that were settled just now and are not in the copy."""
    archive_rows(database, work.job.table, _LEFT_OUT.format(table=work.job.table, where=_SETTLED))
