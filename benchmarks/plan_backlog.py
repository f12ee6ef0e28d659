"""A backlog that rules have something to say about, filled fast: indexes come after the rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.postgres import Postgres

from .backlog import FLOW

# Runs over ninety days; some never ended.
_RUNS = """
INSERT INTO flow_run (id, created, updated, name, flow_id, state_type, state_name,
                      state_timestamp, start_time, end_time, expected_start_time,
                      deployment_id, work_queue_id, tags)
SELECT md5('r' || g)::uuid, at, at, 'run-' || g, md5('f' || g % 100)::uuid,
       CASE WHEN g % 500 = 0 THEN 'RUNNING' ELSE 'COMPLETED' END::state_type, 's', at, at,
       CASE WHEN g % 500 <> 0 THEN at END, at,
       md5('d' || g % 200)::uuid, md5('q' || g % 4)::uuid,
       CASE WHEN g % 5000 = 7 THEN '["keep"]'
            WHEN g % 2 = 0 THEN jsonb_build_array('team-' || g % 20, 'prod') ELSE '[]' END
FROM (SELECT g, now() - interval '90 days' * (1 - g / ({runs} + 1.0)) AS at
      FROM generate_series(1, {runs}) g) r
"""
_TASKS = """
INSERT INTO task_run (id, created, updated, name, state_type, state_name, state_timestamp,
                      start_time, end_time, expected_start_time, task_key, dynamic_key, flow_run_id)
SELECT md5('t' || g)::uuid, f.created, f.created, 'task', 'COMPLETED', 's', f.created, f.created,
       f.created, f.created, 'task', '0', f.id
FROM generate_series(1, {runs}) g JOIN flow_run f ON f.id = md5('r' || g)::uuid ORDER BY g
"""
# So many are subflows of the run before them.
_LINKS = """
UPDATE flow_run SET parent_task_run_id = md5('t' || (g - 1))::uuid
FROM (SELECT n * ({runs} / {links}) AS g FROM generate_series(1, {links}) n) l
WHERE id = md5('r' || g)::uuid AND g > 1
"""
_STATES = """
INSERT INTO flow_run_state (id, created, updated, type, timestamp, name, flow_run_id)
SELECT gen_random_uuid(), created, created, 'COMPLETED', created + s * interval '1 second', 's', id
FROM flow_run, generate_series(1, 3) s ORDER BY created
"""
# What rules ask for: a hundred flows, two hundred deployments, four work pools.
_AROUND = (
    f"INSERT INTO flow (id, name) VALUES ('{FLOW}', 'bench')",
    "INSERT INTO flow (id, name) SELECT md5('f' || g)::uuid, 'flow-' || g "
    "FROM generate_series(0, 99) g",
    """
INSERT INTO deployment (id, flow_id, name, tags)
SELECT md5('d' || g)::uuid, md5('f' || g % 100)::uuid, 'deployment-' || g,
       CASE WHEN g = 199 THEN '["hold:audit"]' ELSE '[]' END::jsonb
FROM generate_series(0, 199) g
""",
    "INSERT INTO work_pool (id, name, type, base_job_template) "
    "SELECT md5('w' || g)::uuid, 'pool-' || g, 'process', '{}' FROM generate_series(0, 3) g",
    "INSERT INTO work_queue (id, name, work_pool_id) "
    "SELECT md5('q' || g)::uuid, 'default', md5('w' || g)::uuid FROM generate_series(0, 3) g",
)
_LOGS = """
INSERT INTO log (id, created, updated, name, level, flow_run_id, message, timestamp)
SELECT gen_random_uuid(), at, at,
       (ARRAY['prefect.flow_runs', 'prefect.task_runs', 'httpx', 'lab.etl'])[1 + g % 4],
       (ARRAY[10, 20, 20, 20, 20, 20, 30, 20, 20, 40])[1 + g % 10],
       md5('r' || 1 + g * {runs}::bigint / ({logs} + 1))::uuid, repeat('m', 100), at
FROM (SELECT g, now() - interval '90 days' * (1 - g / ({logs} + 1.0)) AS at
      FROM generate_series(1, {logs}) g) l
"""
# Twenty types, and each resource has ten events of each.
_EVENTS = """
INSERT INTO events (id, occurred, event, resource_id, resource, payload, received, recorded,
                    created, updated)
SELECT md5('e' || g)::uuid, at, 'lab.type-' || g % 20, 'lab.flow-run.' || g / 200,
       '{{"prefect.resource.id": "lab.flow-run"}}',
       '{{"text": "validated state validated state"}}', at, at, at, at
FROM (SELECT g, now() - interval '90 days' * (1 - g / ({events} + 1.0)) AS at
      FROM generate_series(1, {events}) g) e
"""
_RESOURCES = """
INSERT INTO event_resources (id, occurred, resource_id, resource_role, resource, event_id,
                             created, updated)
SELECT gen_random_uuid(), occurred, resource_id, 'related', '{{"prefect.resource.role": "flow"}}',
       id, occurred, occurred
FROM events ORDER BY occurred
"""
_INDEXES = """
SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = CAST(%s AS regclass) AND NOT i.indisprimary AND NOT i.indisunique
"""
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
_READ = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = %s"


def fill(cluster: Postgres, database: str, *, runs: int, links: int, logs: int) -> None:
    """Fill a database that has Prefect's schema with runs, what belongs to them, and logs."""
    for sql in _AROUND:
        cluster.execute(sql, database)
    told = {"runs": runs, "links": links, "logs": logs}
    for table, sql in (
        ("flow_run", _RUNS), ("task_run", _TASKS), ("flow_run_state", _STATES), ("log", _LOGS),
    ):  # fmt: skip
        with _indexes_after(cluster, database, table):
            cluster.execute(sql.format(**told), database)
    cluster.execute(_LINKS.format(**told), database)
    cluster.execute("VACUUM FULL flow_run", database)


def fill_events(cluster: Postgres, database: str, events: int) -> None:
    """Fill a database that has Prefect's schema with events, each with one resource."""
    for table, sql in (("events", _EVENTS), ("event_resources", _RESOURCES)):
        with _indexes_after(cluster, database, table):
            cluster.execute(sql.format(events=events), database)


def rows_read(cluster: Postgres, database: str, table: str) -> int:
    """Return how many rows of a table's heap all sessions have read so far, once they are gone."""
    while cluster.execute(_SESSIONS, values=(database,)) != [(0,)]:
        time.sleep(0.05)
    return int(cluster.execute(_READ, database, (table,))[0][0])


@contextmanager
def _indexes_after(cluster: Postgres, database: str, table: str) -> Iterator[None]:
    """Fill a table without its indexes, and build them then."""
    indexes = cluster.execute(_INDEXES, database, (table,))
    for name, _ in indexes:
        cluster.execute(f"DROP INDEX {name}", database)
    yield
    for _, definition in indexes:
        cluster.execute(definition, database)
