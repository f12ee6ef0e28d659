"""The whole line on a family of runs, while others write to every table of it and read."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from lab.postgres import Postgres

from .live import Write
from .peers import Peer
from .purge import asked_of, step

# Steps in their order, each continuing the report of the one before.
_LINE = ("bloat_info", "purge", "delete", "vacuum")
# A flow run begins, logs, has a task run, and ends: what a busy server writes all the time. Nothing
# of it depends on how much there is.
WRITE = Write(
    """
WITH run AS (
  INSERT INTO flow_run (id, created, updated, name, flow_id, state_type, state_name,
                        state_timestamp, start_time, expected_start_time)
  SELECT gen_random_uuid(), now(), now(), 'live', id, 'RUNNING', 'Running', now(), now(), now()
  FROM flow LIMIT 1 RETURNING id
), state AS (
  INSERT INTO flow_run_state (id, created, updated, type, timestamp, name, flow_run_id)
  SELECT gen_random_uuid(), now(), now(), 'RUNNING', now(), 'Running', id FROM run
), task AS (
  INSERT INTO task_run (id, created, updated, name, state_type, state_name, state_timestamp,
                        start_time, expected_start_time, task_key, dynamic_key, flow_run_id)
  SELECT gen_random_uuid(), now(), now(), 'live', 'RUNNING', 'Running', now(), now(), now(), 't',
         '0', id FROM run RETURNING id
), task_state AS (
  INSERT INTO task_run_state (id, created, updated, type, timestamp, name, task_run_id)
  SELECT gen_random_uuid(), now(), now(), 'RUNNING', now(), 'Running', id FROM task
), touched AS (
  UPDATE flow_run SET updated = now()
  WHERE id = md5('r' || 1 + extract(epoch FROM now())::bigint % 1000)::uuid
)
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'live', 20, 'a line that is written meanwhile', now()
FROM run, generate_series(1, 10)
""",
    10,
)


def project(max_lock: float) -> Peer:
    """Carry out every step with so long a lock at most; tells the longest of any table."""

    def run(cluster: Postgres, database: str, cutoff: datetime) -> dict[str, float]:
        asked = asked_of(cluster, database, cutoff, ("flow_runs", "logs", "events"))
        asked |= {"run_delete_via": "sql", "vacuum_min_bytes": 2**20, "max_lock": max_lock}
        began = time.monotonic()
        report: dict[str, Any] = {}
        for name in _LINE:
            report = step(name, {**asked, "report": report})
        locks = [table["lock_ms_max"] or 0 for table in report["tables"]]
        return {"seconds": time.monotonic() - began, "lock ms": float(max(locks))}

    return run
