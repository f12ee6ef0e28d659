"""Which flows, deployments and event types make the most rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..database.connection import Database
from .growth import scaled_to
from .sizes import TableSize

_FLOWS = """
WITH recent AS (
    SELECT r.id, r.flow_id, r.deployment_id FROM flow_run r WHERE r.created >= :since
),
task AS (SELECT t.flow_run_id, count(*) AS n FROM task_run t
         JOIN recent r ON r.id = t.flow_run_id GROUP BY t.flow_run_id),
line AS (SELECT l.flow_run_id, count(*) AS n FROM log l
         JOIN recent r ON r.id = l.flow_run_id GROUP BY l.flow_run_id)
SELECT f.name, d.name, count(*), CAST(COALESCE(sum(task.n), 0) AS bigint),
       CAST(COALESCE(sum(line.n), 0) AS bigint)
FROM recent r
JOIN flow f ON f.id = r.flow_id
LEFT JOIN deployment d ON d.id = r.deployment_id
LEFT JOIN task ON task.flow_run_id = r.id
LEFT JOIN line ON line.flow_run_id = r.id
GROUP BY f.name, d.name
ORDER BY 5 DESC, 3 DESC
LIMIT :limit
"""
_EVENT_TYPES = """
SELECT event, count(*) FROM {table} WHERE occurred >= :since
GROUP BY event ORDER BY 2 DESC, 1 LIMIT :limit
"""


def flows(database: Database, since: datetime, limit: int = 10) -> list[dict[str, Any]]:
    """Return the deployments and flows whose runs make the most rows since an instant."""
    return [
        {
            "flow": flow,
            "deployment": deployment,
            "flow_runs": runs,
            "task_runs": tasks,
            "logs": logs,
        }
        for flow, deployment, runs, tasks, logs in database.rows(_FLOWS, since=since, limit=limit)
    ]


def event_types(
    database: Database, size: TableSize, since: datetime, limit: int = 10
) -> list[dict[str, Any]]:
    """Return the types of events of which there are the most since an instant.

    Args:
        database: where.
        size: of the table of events; of a large one a sample is counted.
        since: the instant.
        limit: so many types.
    """
    table, share = scaled_to(database, size)
    found = database.rows(_EVENT_TYPES.format(table=table), since=since, limit=limit)
    return [{"event": event, "rows": round(rows / share)} for event, rows in found]
