"""Which deployments and flows make the most rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..database.connection import Database

_GROWTH = """
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


def growth(database: Database, since: datetime, limit: int = 10) -> list[dict[str, Any]]:
    """Return the deployments and flows whose runs make the most rows since an instant."""
    return [
        {
            "flow": flow,
            "deployment": deployment,
            "flow_runs": runs,
            "task_runs": tasks,
            "logs": logs,
        }
        for flow, deployment, runs, tasks, logs in database.rows(_GROWTH, since=since, limit=limit)
    ]
