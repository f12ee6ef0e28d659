"""Time the plan of a deletion of flow runs, where many of them are subflows of others."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import migrate

from .backlog import FLOW
from .compare import ENGINE, checkout

# Runs over ninety days; every tenth is a subflow of the one before it; some never ended.
_FILL = (
    "INSERT INTO flow (id, name) VALUES (%(flow)s, 'bench')",
    """
INSERT INTO flow_run (id, created, updated, name, flow_id, state_type, state_name,
                      state_timestamp, start_time, end_time, expected_start_time)
SELECT md5('r' || g)::uuid, at, at, 'run-' || g, %(flow)s,
       CASE WHEN g %% 500 = 0 THEN 'RUNNING' ELSE 'COMPLETED' END::state_type, 's', at, at,
       CASE WHEN g %% 500 <> 0 THEN at END, at
FROM (SELECT g, now() - interval '90 days' * (1 - g / (%(runs)s + 1.0)) AS at
      FROM generate_series(1, %(runs)s) g) r
""",
    """
INSERT INTO task_run (id, created, updated, name, state_type, state_name, state_timestamp,
                      start_time, end_time, expected_start_time, task_key, dynamic_key, flow_run_id)
SELECT md5('t' || g)::uuid, f.created, f.created, 'task', 'COMPLETED', 's', f.created, f.created,
       f.created, f.created, 'task', '0', f.id
FROM generate_series(1, %(runs)s) g JOIN flow_run f ON f.id = md5('r' || g)::uuid ORDER BY g
""",
    """
UPDATE flow_run SET parent_task_run_id = md5('t' || (g - 1))::uuid
FROM (SELECT n * (%(runs)s / %(links)s) AS g FROM generate_series(1, %(links)s) n) l
WHERE id = md5('r' || g)::uuid AND g > 1
""",
    """
INSERT INTO flow_run_state (id, created, updated, type, timestamp, name, flow_run_id)
SELECT gen_random_uuid(), created, created, 'COMPLETED', created + s * interval '1 second', 's', id
FROM flow_run, generate_series(1, 3) s ORDER BY created
""",
    """
INSERT INTO log (id, created, updated, name, level, flow_run_id, message, timestamp)
SELECT gen_random_uuid(), f.created, f.created, 'l', 20, f.id, repeat('m', 100), f.created
FROM flow_run f, generate_series(1, 2) s ORDER BY f.created
""",
    "VACUUM ANALYZE",
    "CHECKPOINT",
)
# The engine's own session tells how much memory its process in the server took at most.
_PLAN = """
import os, time
try:
    from prefect_maintenance.pace.pace import Pace
    from prefect_maintenance.request.settings import Settings
    from prefect_maintenance.run import delete as steps
    from prefect_maintenance.run.line import STEPS
except ImportError:  # a revision whose engine has no rooms
    from prefect_maintenance import steps
    from prefect_maintenance.pace import Pace
    from prefect_maintenance.settings import Settings
    from prefect_maintenance.steps import STEPS
plan_delete, took = steps.plan_delete, []
def timed(database, *args, **named):
    began = time.monotonic()
    plan = plan_delete(database, *args, **named)
    pid = database.scalar('SELECT pg_backend_pid()')
    took.append((time.monotonic() - began, pid))
    status = dict(l.split(':', 1) for l in open(f'/proc/{pid}/status'))
    took.append(int(status['RssAnon'].split()[0]) // 1024)
    return plan
steps.plan_delete = timed
asked = {'db_url': os.environ['URL'], 'run_delete_via': 'sql', 'retention_days': 85}
outcome = STEPS['delete'](Settings.parse(asked, check=True), Pace())
rows = outcome.answers['deleted']
print(f'{took[0][0]:.2f} s, {took[1]} MiB of private memory, {rows["flow_run"]:,} runs would go')
"""


def main() -> None:
    """Print what the plan took, of this revision and of another in turn when one is named."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=1_000_000)
    options.add_argument("--links", type=int, default=100_000)
    options.add_argument("--times", type=int, default=3)
    options.add_argument("--base", help="another revision, that takes minutes at this size")
    asked = options.parse_args()
    settings = {"shared_buffers": "512MB", "max_wal_size": "8GB", "autovacuum": "off"}
    with Postgres(options=settings) as cluster, tempfile.TemporaryDirectory() as folder:
        checkouts = {"this": ROOT}
        if asked.base:
            checkouts = {asked.base: checkout(asked.base, Path(folder)), **checkouts}
        url = cluster.create_database("filled")
        migrate(url)
        values = {"flow": FLOW, "runs": asked.runs, "links": asked.links}
        for sql in _FILL:
            cluster.execute(sql, "filled", values if "%(" in sql else ())
        for _ in range(asked.times):
            for name, place in checkouts.items():
                done = subprocess.run(
                    [sys.executable, "-c", _PLAN],
                    env={**os.environ, "PYTHONPATH": str(place / ENGINE), "URL": url},
                    stdout=subprocess.PIPE, text=True, check=True,
                )  # fmt: skip
                print(f"{name}: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
