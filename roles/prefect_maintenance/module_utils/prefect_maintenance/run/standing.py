"""Note how the tables stand: what VACUUM waits for, indexes, autovacuum."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..measure.autovacuum import autovacuum
from ..measure.blockers import Blocker, Old, blockers
from ..measure.indexes import invalid
from ..plan.choices import REWRITING
from ..plan.indexes import IndexChoice, plan_indexes
from ..plan.plan import Plan
from ..report.findings import again, ended, states
from ..units import count
from .session import Session

_BEGUN = "SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
# Fewer dead rows come and go on a server at work.
_SOME = 1000


def note_standing(session: Session) -> None:
    """Note all of it, as it is found before anything is done."""
    database, rows = session.database, rows_left(session, {})
    session.report = replace(
        session.report,
        blockers=blockers(database),
        indexes=states(plan_indexes(database, session.settings.reclaim, rows, ())),
        autovacuum=autovacuum(database, rows),
    )


def rows_left(session: Session, deleted: Mapping[str, int]) -> dict[str, int]:
    """Return the rows of each table once so many of those that were measured are gone."""
    return {
        table.name: max(0, table.rows_after - deleted.get(table.name, 0))
        for table in session.report.tables
        if table.rows_after is not None
    }


def index_choices(
    session: Session, plan: Plan, rows: Mapping[str, int], rewritten: Collection[str]
) -> tuple[IndexChoice, ...]:
    """Decide what becomes of indexes, and note them beside those that were found before.

    Args:
        session: at its step.
        plan: how the space of the tables comes back.
        rows: that each table has.
        rewritten: tables that the purge has rewritten, or would.
    """
    anew = {*rewritten, *(one.table for one in plan.reclaim if one.action in REWRITING)}
    found = plan_indexes(session.database, session.settings.reclaim, rows, anew)
    noted = again(session.report.indexes, states(found))
    session.report = replace(session.report, indexes=noted)
    return found


def transactions_begun(session: Session) -> int:
    """Return how many transactions the server has begun so far; 0 on SQLite."""
    database = session.database
    return int(database.scalar(_BEGUN)) if database.is_postgresql else 0


def note_end(session: Session, begun: int) -> None:
    """Note what keeps VACUUM from its work now, which dead rows it left, and INVALID indexes.

    Args:
        session: whose tables were vacuumed and then measured.
        begun: transactions that had begun when the step did; what is older keeps dead rows.
    """
    database, report = session.database, session.report
    if not database.is_postgresql:
        return
    tables = {one.table for one in report.indexes}
    left = {(table, one.index) for table in tables for one in invalid(database, table)}
    dead = {t.name: t.dead_after for t in report.tables if (t.dead_after or 0) >= _SOME}
    old = Old(session.seconds, transactions_begun(session) - begun + 1) if dead else None
    found = blockers(database, old)
    keeps = [one for one in found if one.keeps_rows]
    if dead and keeps:
        report = report.with_warnings([_not_removed(dead, keeps[0])])
    session.report = replace(report, blockers=found, indexes=ended(report.indexes, left))


def _not_removed(dead: Mapping[str, int | None], first: Blocker) -> str:
    left = [f"{count(rows)} dead rows of {table}" for table, rows in dead.items()]
    return f"VACUUM could not remove {', '.join(left)}: {first.what} may still see them"
