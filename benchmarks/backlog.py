"""A large backlog in set-based SQL: time-ordered on disk, as a server that only appended."""

from __future__ import annotations

from dataclasses import dataclass

from lab.postgres import Postgres

FLOW = "22222222-2222-4222-8222-222222222222"
DAYS = 180


@dataclass(frozen=True)
class Size:
    """Rows per table; the defaults keep the proportions of a busy server."""

    logs: int
    events: int = 0
    runs: int = 0

    @classmethod
    def of(cls, logs: int) -> Size:
        """Return the usual proportions for so many logs."""
        return cls(logs=logs, events=logs * 15 // 100, runs=logs // 100)


_RUNS = """
INSERT INTO flow_run (id, created, updated, name, flow_id, state_type, state_name,
                      state_timestamp, start_time, end_time, expected_start_time)
SELECT md5('r' || g)::uuid, at, at, 'run-' || g, %(flow)s, 'COMPLETED', 'Completed',
       at + interval '1 minute', at, at + interval '1 minute', at
FROM (SELECT g, now() - %(days)s * interval '1 day' * (1 - g / (%(runs)s + 1.0)) AS at
      FROM generate_series(1, %(runs)s) g) r
"""
_RUN_STATES = """
INSERT INTO flow_run_state (id, created, updated, type, timestamp, name, flow_run_id)
SELECT gen_random_uuid(), created, created, 'COMPLETED', created + s * interval '1 second', 's', id
FROM flow_run, generate_series(1, 3) s ORDER BY created
"""
_TASKS = """
INSERT INTO task_run (id, created, updated, name, state_type, state_name, state_timestamp,
                      start_time, end_time, expected_start_time, task_key, dynamic_key, flow_run_id)
SELECT gen_random_uuid(), created, created, 'task', 'COMPLETED', 'Completed', end_time, created,
       end_time, created, 'task', s::text, id
FROM flow_run, generate_series(1, 5) s ORDER BY created
"""
_TASK_STATES = """
INSERT INTO task_run_state (id, created, updated, type, timestamp, name, task_run_id)
SELECT gen_random_uuid(), created, created, 'COMPLETED', created + s * interval '1 second', 's', id
FROM task_run, generate_series(1, 3) s ORDER BY created
"""
_LOGS = """
INSERT INTO log (id, created, updated, name, level, flow_run_id, message, timestamp)
SELECT gen_random_uuid(), at, at, 'prefect.flow_runs', 20,
       md5('r' || 1 + g * %(runs)s::bigint / (%(logs)s + 1))::uuid,
       'Finished in state Completed after reading rows of the nightly extract ' || g, at
FROM (SELECT g, now() - %(days)s * interval '1 day' * (1 - g / (%(logs)s + 1.0)) AS at
      FROM generate_series(1, %(logs)s) g) l
"""
_EVENTS = """
INSERT INTO events (id, occurred, event, resource_id, resource, payload, received, recorded,
                    created, updated)
SELECT md5('e' || g)::uuid, at, 'prefect.flow-run.Completed', 'prefect.flow-run.' || g,
       '{"prefect.resource.id": "prefect.flow-run"}',
       jsonb_build_object('text', repeat('validated state ', 40)), at, at, at, at
FROM (SELECT g, now() - %(days)s * interval '1 day' * (1 - g / (%(events)s + 1.0)) AS at
      FROM generate_series(1, %(events)s) g) e
"""
_RESOURCES = """
INSERT INTO event_resources (id, occurred, resource_id, resource_role, resource, event_id,
                             created, updated)
SELECT gen_random_uuid(), occurred, resource_id, 'related', '{"prefect.resource.role": "flow"}',
       id, occurred, occurred
FROM events, generate_series(1, 3) s ORDER BY occurred
"""


def fill(cluster: Postgres, database: str, size: Size, *, tasks: bool = True) -> None:
    """Fill a database that has Prefect's schema and nothing in it; runs have task runs or none."""
    values = {
        "flow": FLOW,
        "days": DAYS,
        "runs": max(1, size.runs),
        "logs": size.logs,
        "events": size.events,
    }
    flow = "INSERT INTO flow (id, name) VALUES (%(flow)s, 'bench')"
    for sql in (
        flow, _RUNS, _RUN_STATES, *((_TASKS, _TASK_STATES) if tasks else ()), _LOGS, _EVENTS,
        _RESOURCES,
        "VACUUM ANALYZE", "CHECKPOINT",
    ):  # fmt: skip
        cluster.execute(sql, database, values if "%(" in sql else ())
