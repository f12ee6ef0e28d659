"""What is to be deleted, laid down in a temporary table in the order of deletion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..catalogue import FLOW_RUN, LOG
from ..database.connection import Database
from ..plan.counts import single
from ..plan.hanging import count_hanging
from ..plan.rules import Rules
from .batches import Rows, among

_WORKLIST_OF_RUNS = """
CREATE TEMPORARY TABLE prefect_maintenance_worklist AS
SELECT row_number() OVER (
           ORDER BY d.rule, CASE WHEN r.tags = '[]' THEN 0 ELSE 1 END,
                    COALESCE(top.end_time, top.state_timestamp, top.start_time,
                             top.expected_start_time), COALESCE(o.top, d.id), d.id
       ) AS position,
       d.id AS id, COALESCE(o.top, d.id) AS top, d.rule AS rule, d.state AS state, d.age AS age,
       r.tags = '[]' AS untagged, {single} AS single, 1 + COALESCE(w.hanging, 0) AS leaves
FROM prefect_maintenance_candidate d
JOIN flow_run r ON r.id = d.id
LEFT JOIN prefect_maintenance_tree o ON o.id = d.id
LEFT JOIN flow_run top ON top.id = COALESCE(o.top, d.id)
LEFT JOIN (SELECT h.id, sum(h.rows) AS hanging FROM ({hanging}) h GROUP BY h.id) w ON w.id = d.id
"""

WORKLIST_OF_ROWS = """
CREATE TEMPORARY TABLE prefect_maintenance_worklist AS
{ctes}
SELECT row_number() OVER (ORDER BY {alias}.{order}) AS position, {alias}.id AS id
FROM {table} {alias} WHERE {goes}
"""

_INDEX_WORKLIST = (
    "CREATE UNIQUE INDEX prefect_maintenance_at ON prefect_maintenance_worklist (position)"
)
INDEX_WORKLIST_TOP = "CREATE INDEX prefect_maintenance_top ON prefect_maintenance_worklist (top)"
_DROP_WORKLIST = "DROP TABLE IF EXISTS prefect_maintenance_worklist"

WORKLIST_LEFT = "SELECT count(*) FROM prefect_maintenance_worklist d JOIN {table} x ON x.id = d.id"
_LENGTH = "SELECT max(position) FROM prefect_maintenance_worklist"

DELETE_LISTED = """
DELETE FROM {table} AS x WHERE x.id IN (
    SELECT d.id FROM prefect_maintenance_worklist d WHERE d.position BETWEEN :first AND :last)
AND {goes}
"""

# The runs are asked, not their logs: to ask each log, the planner reads all runs there are.
_STILL_GONE = """
SELECT d.id FROM prefect_maintenance_worklist d WHERE d.position BETWEEN :first AND :last
AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.id = d.id)
"""
_OF_RUN, _OF_TASK_RUN = LOG.parents


SINGLES_LEFT = "SELECT count(*) FROM prefect_maintenance_worklist d WHERE d.single"


def worklist_of_runs(rules: Rules) -> str:
    """Write the statement that lays the candidates down, those of one guard together."""
    hanging = count_hanging(FLOW_RUN, "prefect_maintenance_candidate")
    return _WORKLIST_OF_RUNS.format(single=single(rules), hanging=hanging)


def logs_of_gone(database: Database, column: str) -> str:
    """Row `x` is a log of the gone runs of a batch, which it names in a column."""
    parent = _OF_RUN.table if column == _OF_RUN.column else _OF_TASK_RUN.table
    goes = f"x.{column} {among(database, _STILL_GONE.format(parent=parent))}"
    goes += " AND x.timestamp < :orphans"
    return goes if column == _OF_RUN.column else f"{goes} AND x.{_OF_RUN.column} IS NULL"


@contextmanager
def worklist(database: Database, sql: str, **bound: Any) -> Iterator[None]:
    """Lay down what is to be deleted in a temporary table, and remove that afterwards."""
    database.run(_DROP_WORKLIST)
    database.run(sql, **bound)
    database.run(_INDEX_WORKLIST)
    if database.is_postgresql:
        database.run("ANALYZE prefect_maintenance_worklist")
    try:
        yield
    finally:
        if not database.connection.invalidated:
            database.run(_DROP_WORKLIST)


def worklist_length(database: Database) -> int:
    """Return how many rows the temporary table holds."""
    return database.scalar(_LENGTH) or 0


def positions(database: Database, step: int) -> Iterator[tuple[int, int]]:
    """Cut the temporary table into ranges of positions, first and last included."""
    yield from ranges(database, lambda: step)


def ranges(database: Database, rows: Rows) -> Iterator[tuple[int, int]]:
    """Cut the temporary table like `positions`, each range as long as is said then."""
    first, length = 1, worklist_length(database)
    while first <= length:
        last = first + rows() - 1
        yield first, last
        first = last + 1
