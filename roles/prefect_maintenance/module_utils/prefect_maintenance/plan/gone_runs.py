"""Runs that logs name and that are not there any more, found in the way that takes least."""

from __future__ import annotations

from ..catalogue import FLOW_RUN, LOG
from ..database.connection import Database

# Looks for the next distinct run in the index from the one before: a few pages for each run.
_HOP = """
hop(id) AS (
    SELECT (SELECT l.flow_run_id FROM log l WHERE l.flow_run_id IS NOT NULL
            ORDER BY l.flow_run_id LIMIT 1)
    UNION ALL
    SELECT (SELECT l.flow_run_id FROM log l WHERE l.flow_run_id > h.id
            ORDER BY l.flow_run_id LIMIT 1)
    FROM hop h WHERE h.id IS NOT NULL
),
gone_run(id) AS MATERIALIZED (
    SELECT h.id FROM hop h
    WHERE h.id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM flow_run p WHERE p.id = h.id)
)
"""
# Passes along the whole index in its order, which reads each of its pages once, and no row of the
# table where all are visible to everybody.
_PASS = """
gone_run(id) AS MATERIALIZED (
    SELECT n.id FROM (
        SELECT l.flow_run_id AS id FROM log l WHERE l.flow_run_id IS NOT NULL
        GROUP BY l.flow_run_id) n
    WHERE NOT EXISTS (SELECT 1 FROM flow_run p WHERE p.id = n.id)
)
"""
# Logs of task runs that never had a flow run are few, and an index leads to them.
_OF_TASKS = """
gone_run(id) AS MATERIALIZED (
    SELECT DISTINCT l.task_run_id FROM log l
    WHERE l.flow_run_id IS NULL AND l.task_run_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM task_run p WHERE p.id = l.task_run_id)
)
"""

# Logs, how many of their pages are visible to everybody, and flow runs: nearly all of them have
# logs. How many are named in a sample of pages tells little, since the logs of a run lie together.
_SIZES = """
SELECT GREATEST(l.reltuples, 0), l.relallvisible / GREATEST(l.relpages, 1.0), r.reltuples
FROM pg_class l, pg_class r WHERE l.oid = to_regclass(:log) AND r.oid = to_regclass(:run)
"""
# Pages that a look for the next run reads, and what an entry costs of one that is only passed.
_LOOKED_FOR, _PASSED = 4, 0.02


def gone_runs(database: Database, column: str) -> str:
    """Write CTEs that end in gone_run(id): runs that logs name in a column and that are gone."""
    if column != LOG.parents[0].column:
        return _OF_TASKS
    return _PASS if database.is_postgresql and _passed(database) else _HOP


def _passed(database: Database) -> bool:
    logs, visible, runs = database.rows(_SIZES, log=LOG.name, run=FLOW_RUN.name)[0]
    return bool(logs * (_PASSED + 1 - float(visible)) < _LOOKED_FOR * runs)
