"""A family of flow runs with their states and task runs, of which most are gone afterwards."""

from __future__ import annotations

from .postgres import Postgres

TABLES = ("flow_run", "flow_run_state", "task_run", "task_run_state")
_FLOW = "11111111-1111-4111-8111-111111111111"
_BEGIN = "now() - interval '90 days'"

_FILL = (
    f"INSERT INTO flow (id, name) VALUES ('{_FLOW}', 'nightly') ON CONFLICT DO NOTHING",
    f"""
    INSERT INTO flow_run (id, flow_id, name, state_type, state_name, parameters, run_count,
                          start_time, end_time, expected_start_time, created)
    SELECT gen_random_uuid(), '{_FLOW}', 'run ' || n, 'COMPLETED', 'Completed',
           jsonb_build_object('day', n, 'source', repeat('s', 60)), 1, t.at, t.at, t.at, t.at
    FROM generate_series(1, %(runs)s) n, LATERAL (SELECT {_BEGIN} + n * interval '1 s' AS at) t
    """,
    """
    INSERT INTO flow_run_state (id, flow_run_id, type, name, timestamp, state_details)
    SELECT gen_random_uuid(), r.id, 'COMPLETED', 'Completed', r.start_time + s * interval '1 ms',
           jsonb_build_object('flow_run_id', r.id)
    FROM flow_run r, generate_series(1, 3) s ORDER BY r.start_time
    """,
    """
    INSERT INTO task_run (id, flow_run_id, name, task_key, dynamic_key, state_type, state_name,
                          start_time, end_time)
    SELECT gen_random_uuid(), r.id, 'task', 'key', s::text, 'COMPLETED', 'Completed',
           r.start_time, r.end_time
    FROM flow_run r, generate_series(1, 2) s ORDER BY r.start_time
    """,
    """
    INSERT INTO task_run_state (id, task_run_id, type, name, timestamp, state_details)
    SELECT gen_random_uuid(), t.id, 'COMPLETED', 'Completed', t.start_time + s * interval '1 ms',
           jsonb_build_object('task_run_id', t.id, 'flow_run_id', t.flow_run_id)
    FROM task_run t, generate_series(1, 3) s ORDER BY t.start_time
    """,
    "ANALYZE",
)
_OLDEST = f"start_time < {_BEGIN} + %(gone)s * interval '1 second'"
_SCATTERED = "%(gone)s > 0 AND abs(hashtext(id::text)) %% 10 > 0"


def fill(cluster: Postgres, database: str, runs: int, *, scattered: bool = False) -> None:
    """Leave the youngest tenth of so many runs, or a tenth anywhere, and free pages between."""
    for sql in _FILL:
        cluster.execute(sql, database, {"runs": runs} if "%(runs)s" in sql else ())
    gone = _SCATTERED if scattered else _OLDEST
    cluster.execute(f"DELETE FROM flow_run WHERE {gone}", database, {"gone": runs * 9 // 10})
    for table in TABLES:
        cluster.execute(f"VACUUM (ANALYZE) {table}", database)
