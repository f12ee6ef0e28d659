"""Time the plan of a deletion of flow runs, many of them subflows, without rules and with twenty."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

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
    # What rules ask for: a hundred flows, two hundred deployments, four work pools, tags of half.
    """
INSERT INTO flow (id, name) SELECT md5('f' || g)::uuid, 'flow-' || g FROM generate_series(0, 99) g
""",
    """
INSERT INTO deployment (id, flow_id, name)
SELECT md5('d' || g)::uuid, md5('f' || g % 100)::uuid, 'deployment-' || g
FROM generate_series(0, 199) g
""",
    """
INSERT INTO work_pool (id, name, type, base_job_template)
SELECT md5('w' || g)::uuid, 'pool-' || g, 'process', '{}' FROM generate_series(0, 3) g
""",
    """
INSERT INTO work_queue (id, name, work_pool_id)
SELECT md5('q' || g)::uuid, 'default', md5('w' || g)::uuid FROM generate_series(0, 3) g
""",
    """
UPDATE flow_run SET flow_id = md5('f' || n % 100)::uuid, deployment_id = md5('d' || n % 200)::uuid,
    work_queue_id = md5('q' || n % 4)::uuid,
    tags = CASE WHEN n % 2 = 0 THEN jsonb_build_array('team-' || n % 20, 'prod') ELSE '[]' END
FROM (SELECT id AS run, substr(name, 5)::int AS n FROM flow_run) s WHERE s.run = id
""",
    "VACUUM FULL flow_run",
    "VACUUM ANALYZE",
    "CHECKPOINT",
)
# Twenty rules of every kind, of which a thousandth of what goes is kept: the same work but for them.
_RULES = [
    {**match, "keep": {"days": 85, **keep}}
    for n in range(5)
    for match, keep in (
        ({"deployments": [f"flow-{n}/*", f"deployment-{n + 50}"]}, {"last": 10}),
        ({"flows": [f"flow-{n}?"], "except": {"tags": ["team-1*"]}}, {}),
        ({"tags": [f"team-{n}", "x-*"]}, {"last_success": 2}),
        ({"work_pools": [f"pool-{n}"], "states": ["FAILED", "CRASHED"]}, {"last_failure": 2}),
    )
]
# The engine's own session tells how much memory its process in the server took at most.
_PLAN = """
import json, os, time
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
if os.environ.get('RULES'):
    asked['rules'] = json.loads(os.environ['RULES'])
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
        ways = {"this": (ROOT, ""), "this, 20 rules": (ROOT, json.dumps(_RULES))}
        if asked.base:
            ways = {asked.base: (checkout(asked.base, Path(folder)), ""), **ways}
        url = cluster.create_database("filled")
        migrate(url)
        values = {"flow": FLOW, "runs": asked.runs, "links": asked.links}
        for sql in _FILL:
            cluster.execute(sql, "filled", values if "%(" in sql else ())
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(asked.times):
            for name, (place, rules) in ways.items():
                done = subprocess.run(
                    [sys.executable, "-c", _PLAN],
                    env={
                        **os.environ, "PYTHONPATH": str(place / ENGINE), "URL": url, "RULES": rules
                    },
                    stdout=subprocess.PIPE, text=True, check=True,
                )  # fmt: skip
                took[name].append(float(done.stdout.split()[0]))
                print(f"{name}: {done.stdout.strip()}", flush=True)
        without, ruled = (median(took[name]) for name in ("this", "this, 20 rules"))
        print(f"20 rules take {ruled / without:.1f} times as long as none; 3 are allowed")


if __name__ == "__main__":
    main()
