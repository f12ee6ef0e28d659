"""Signs of life of unfinished runs, each looked for in all that may show it.

Signs of life are looked for in all that one process does: a subflow runs in its parent's, unless
it has a deployment and so a process of its own. And a run that waits for its subflows lives as
long as they do. So a run is asked together with its ancestors in the same process, and with
everything below them. An ancestor that has ended says nothing: its process is gone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..catalogue import ARTIFACT, EVENT_RESOURCES, FLOW_RUN, FLOW_RUN_STATE, LOG, TASK_RUN
from ..database.connection import Database
from ..request.instants import iso
from .rules import Rules

_TABLES = {
    "prefect_maintenance_stuck": "SELECT r.id AS id",
    "prefect_maintenance_stuck_family": "SELECT r.id AS run, r.id AS member",
}
_CREATE = "CREATE TEMPORARY TABLE {table} AS {columns} FROM flow_run r WHERE 1 = 0"

_FAMILY = """
INSERT INTO prefect_maintenance_stuck_family (run, member)
WITH RECURSIVE
above(run, member) AS (
    SELECT s.id, s.id FROM prefect_maintenance_stuck s
    UNION
    SELECT a.run, p.id
    FROM above a
    JOIN flow_run r ON r.id = a.member AND r.deployment_id IS NULL
    JOIN task_run t ON t.id = r.parent_task_run_id
    JOIN flow_run p ON p.id = t.flow_run_id AND {unfinished}
),
family(run, member) AS (
    SELECT a.run, a.member FROM above a
    UNION
    SELECT f.run, c.id
    FROM family f
    JOIN task_run t ON t.flow_run_id = f.member
    JOIN flow_run c ON c.parent_task_run_id = t.id
)
SELECT f.run, f.member FROM family f
"""
# What a run does, the column that dates it, and which rows `x` are of the member `f.member`.
# The role of an event's own resource is empty, and an index leads to it, unlike from the event.
_SIGNS = (
    ("a subflow", FLOW_RUN, "created", "x.id = f.member AND x.id <> f.run"),
    ("a subflow", FLOW_RUN, "state_timestamp", "x.id = f.member AND x.id <> f.run"),
    ("a task run", TASK_RUN, "created", "x.flow_run_id = f.member"),
    ("a task run", TASK_RUN, "state_timestamp", "x.flow_run_id = f.member"),
    ("a state", FLOW_RUN_STATE, "timestamp", "x.flow_run_id = f.member"),
    ("a log", LOG, "timestamp", "x.flow_run_id = f.member"),
    ("an artifact", ARTIFACT, "updated", "x.flow_run_id = f.member"),
    (
        "an event",
        EVENT_RESOURCES,
        "occurred",
        "x.resource_id = 'prefect.flow-run.' || CAST(f.member AS VARCHAR) AND x.resource_role = ''",
    ),
)
_NEWEST = """
SELECT CAST(f.run AS VARCHAR) AS run,
       max((SELECT max(x.{at}) FROM {table} x WHERE {of} AND x.{at} >= :cutoff)) AS at
FROM prefect_maintenance_stuck_family f GROUP BY f.run
"""


def make_tables(database: Database) -> None:
    """Make the temporary tables: of the runs that are asked about, and of what they live with."""
    for table, columns in _TABLES.items():
        database.run(f"DROP TABLE IF EXISTS {table}")
        database.run(_CREATE.format(table=table, columns=columns))


def empty_tables(database: Database) -> None:
    """Empty the temporary tables for the next question."""
    for table in _TABLES:
        database.run(f"DELETE FROM {table}")


def find_families(database: Database, rules: Rules) -> None:
    """Find what shows by a sign of life that the runs in prefect_maintenance_stuck live."""
    database.run(_FAMILY.format(unfinished=rules.is_unfinished("p")))


def newest_signs(database: Database, cutoff: datetime) -> dict[str, str]:
    """Say of each run, by its id, the newest sign of life since a cutoff, if it shows one."""
    newest: dict[str, tuple[datetime, str]] = {}
    for what, table, at, of in _SIGNS:
        sql = _NEWEST.format(table=table.name, at=at, of=of)
        for run, value in database.rows(sql, cutoff=cutoff):
            found = instant(value)
            if found and (run not in newest or newest[run][0] < found):
                newest[run] = (found, what)
    return {
        run: f"{what} of {iso(at.replace(microsecond=0))}" for run, (at, what) in newest.items()
    }


def instant(value: Any) -> datetime | None:
    """Return an instant as it came out of the database, or None for none."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value if isinstance(value, datetime) else None
