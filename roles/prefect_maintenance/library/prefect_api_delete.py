#!/usr/bin/python
# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: prefect_api_delete
short_description: Delete old flow runs, task runs and artifacts through the Prefect API
version_added: "0.1.0"
description:
  - Deletes flow runs in the policy's terminal states that are older than their cutoff, whole
    trees of subflows or none, then other finished task runs and artifacts older than theirs.
  - Every deletion is guarded by state and age, so that a run that was retried meanwhile survives.
  - Uses the bulk endpoint where the server has it (Prefect 3.6.16 and newer) and single deletions
    elsewhere; what the API leaves behind is finished in SQL in the same step.
  - First proves that the API and the database belong to the same server.
author:
  - The prefect_maintenance authors (@prefect-maintenance)
requirements:
  - Python 3.11 or newer on the target, with C(prefect), C(sqlalchemy), C(psycopg2-binary)
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and say exactly what it would do, without a write of any
      kind.
  diff_mode:
    support: full
    description: Shows per table the rows that are due, and those left of them.
  idempotent:
    support: full
    description: A second run with the same options changes nothing.
  platform:
    platforms: posix
    support: full
    description: The platforms on which the module runs.
# Written by make docs from request/options.
options:
  api_url:
    description: URL of the Prefect API as the target sees it; it ends in V(/api).
    type: str
    default: http://127.0.0.1:4200/api
  api_auth_string:
    description: User and password of a server with basic authentication, as C(user:password).
    type: str
  api_key:
    description: Key that is sent as a bearer token.
    type: str
  api_headers:
    description: More headers for every request, for example for a proxy in front of the server.
    type: dict
  api_ca_cert:
    description: File on the target with the certificates of a private authority.
    type: path
  api_validate_certs:
    description: Whether the server's certificate is checked.
    type: bool
    default: true
  db_url:
    description:
      - URL of Prefect's database in any SQLAlchemy form; when it is not set, E(PREFECT_DB_URL_SYNC)
        of the target is used, else Prefect's own setting there.
      - The database is PostgreSQL 14 or newer, or SQLite.
    type: str
  retention_days:
    description:
      - Days for which everything is kept.
      - O(retention) may name other days for an entity.
      - It is 1 or more, at most 36500.
    type: int
    default: 15
  retention:
    description:
      - Days per entity, where they differ.
      - Its keys may be V(flow_runs), V(task_runs), V(artifacts), V(logs), V(events).
      - Each is 1 or more, at most 36500.
    type: dict
    default: {}
  states:
    description:
      - Terminal states whose flow runs may go.
      - Known are V(COMPLETED), V(FAILED), V(CANCELLED), V(CRASHED).
    type: list
    elements: str
    default: [COMPLETED, FAILED, CANCELLED]
  rules:
    description:
      - Retention of flow runs by deployment, flow, tag, work pool and state.
      - A rule matches by C(deployments), C(flows), C(tags), C(work_pools) and C(states), and leaves
        out what fits all of its C(except). Each is a list of alternatives, in which C(*) and C(?)
        are wild; all that are given must fit.
      - "The first rule that matches a run decides about it: each clause of its C(keep) keeps, which
        are C(days), C(last), C(last_success) and C(last_failure) of a deployment, or C(forever). A
        run that no rule matches falls under O(states) and O(retention)."
      - Its C(logs) says how long the logs of those runs are kept. A delete asks for the rule of a
        run as it is then, a rewrite as it was when the copy began.
    type: list
    elements: dict
    default: []
  event_rules:
    description:
      - Retention of events by type and resource, where it differs.
      - A rule matches by C(events) and C(resources); its C(keep) has C(days), C(last) of each
        resource, or is C(forever).
      - The first rule that matches an event decides about it, and its rows in C(event_resources)
        come and go with it.
    type: list
    elements: dict
    default: []
  log_rules:
    description:
      - Retention of logs by level and logger, where it differs.
      - A rule matches logs C(below) a level and of the C(loggers); its C(keep) has C(days) or is
        C(forever).
      - The first rule that matches a log decides about it, before the C(logs) of O(rules) and
        before O(retention). Logs of unfinished and held runs stay, and those of runs that are gone
        go.
    type: list
    elements: dict
    default: []
  hold_tags:
    description:
      - Tags of a run or of its deployment that keep the run whatever its age.
      - C(*) and C(?) are wild. A tag such as C(keep-until:2027-03-31) keeps until the end of that
        day in UTC; one whose date cannot be read keeps.
    type: list
    elements: str
    default: [keep, keep-until:*, hold:*]
  stuck:
    description:
      - Days after which an unfinished run without a sign of life is ended, by its state.
      - "For example V({RUNNING: 7, PENDING: 2}). The run is ended through the API, as crashed, so
        that its slots are free again. V(LATE) deletes scheduled runs that never started."
      - Without it nothing is ended. It needs O(api_url).
      - C(prefect_db_purge) ends none; it counts late runs where C(before) says that a deletion
        follows.
      - Its keys may be V(RUNNING), V(PENDING), V(PAUSED), V(CANCELLING), V(LATE).
      - Each is 1 or more, at most 36500.
    type: dict
    default: {}
  max_rows:
    description:
      - Refuse a plan that deletes more rows than this; V(0) is no limit.
      - All tables count together, with what hangs on the rows that go. A check warns, a run fails
        before it has deleted anything.
      - It is 0 or more, at most 9223372036854775807.
    type: int
    default: 0
  archive_dir:
    description: Folder on the target where rows are written, and verified, before they go.
    type: path
  archive_days:
    description:
      - Days for which archives are kept in O(archive_dir); V(0) keeps them for good.
      - It is 0 or more, at most 36500.
    type: int
    default: 0
  run_delete_via:
    description:
      - Whether runs and artifacts are deleted by the server or in the database.
      - V(auto) is V(api) as long as that is estimated to fit O(api_budget), else V(sql); the report
        says which, and why.
      - V(api) has the Prefect server delete the flow runs that its API can guard, which are those
        with an end time and without task runs or subflows, on Prefect 3.6.16 and newer. All else is
        deleted in the database as with V(sql), because the API would delete it even in use.
      - V(sql) deletes the same rows in the database, many times faster, under row locks that ask
        for state and age once more; what another session holds is left for the next run.
      - O(api_url) may be empty with V(sql), and with V(auto), which is V(sql) then.
    type: str
    choices: [auto, api, sql]
    default: auto
  api_budget:
    description:
      - Seconds that O(run_delete_via=auto) may spend on the API; the rest goes by SQL.
      - Pauses that leave the server its turn count too. When the first calls show that the others
        will not fit, those are deleted in the database. V(0) has the API delete nothing.
      - It is 0 or more, at most 31536000.
    type: int
    default: 600
  batch_size:
    description:
      - Flow runs that one call of the API deletes at most.
      - The API's bulk endpoint takes at most 50; a call is made smaller where others who read from
        the server would notice it.
    type: int
    default: 50
  lock_timeout:
    description:
      - Seconds to wait for a lock in the database before giving up.
      - It is more than 0 and less than 86400.
    type: float
    default: 5.0
  throttle:
    description:
      - Thresholds at which the work waits for the server; others keep their default.
      - A threshold of V(0) or V(null) turns its own off, and V(enabled=false) all of them;
        C(docs/throttle.md) says what each means and why it is what it is.
      - Its keys may be V(enabled), V(replica_lag_bytes), V(replica_lag_seconds),
        V(archive_segments), V(wal_bytes), V(disk_free_percent), V(slot_safe_bytes), V(autovacuum),
        V(active_sessions), V(api_latency), V(nice), V(batch_seconds), V(give_up).
    type: dict
    default: {}
  limits_file:
    description:
      - A file on the target whose thresholds replace those of O(throttle) while it exists.
      - It is a JSON object with the same keys, and is read again when it changes, also while the
        work goes on.
    type: path
  windows:
    description:
      - "When work may go on: C(cron), C(duration), C(timezone) and C(kind); without any, always."
      - A window opens whenever the five fields of C(cron) come by the clocks of C(timezone), which
        is V(UTC) unless named, and is open for C(duration), such as V(4h), V(90m) or seconds, at
        most seven days.
      - Its C(kind) is V(allow), or V(deny), which beats every V(allow); without any V(allow), all
        time is allowed that no V(deny) covers.
      - Outside, a step waits for a window that opens within 15 minutes. Otherwise it does not
        begin, or ends at the next batch, without a failure, and the report's status is V(partial).
        A check is made at any time.
    type: list
    elements: dict
    default: []
  db_free_bytes:
    description:
      - Bytes free on the disk of a database that nobody can look at; V(0) is unknown.
      - A managed database has no host to log in to.
      - It is 0 or more, at most 9223372036854775807.
    type: int
    default: 0
  max_runtime:
    description:
      - Seconds after which a step stops between two batches and fails; V(0) is no limit.
      - It is 0 or more, at most 31536000.
    type: int
    default: 0
  stop_file:
    description:
      - A file on the target that stops the maintenance between two batches while it exists.
      - A step that is stopped fails, and one that is not at work yet does not begin.
    type: path
  per_cluster:
    description:
      - Databases of one PostgreSQL cluster worked on at a time; V(0) is no limit.
      - A step waits until it is its turn, whoever started the others.
      - It is 0 or more, at most 10000.
    type: int
    default: 1
  textfile_dir:
    description: Folder on the target from which node_exporter's textfile collector reads; each step
      writes C(prefect_maintenance.prom) there.
    type: path
  concurrency:
    description:
      - Kept for compatibility.
      - Nothing is deleted one by one any more.
      - It is 1 or more, at most 100.
    type: int
    default: 4
  reference_time:
    description:
      - The instant from which all cutoffs are counted back, in ISO 8601; without an offset it is
        UTC.
      - When it is not set, the one in O(report) is used, else the present.
    type: str
  report:
    description:
      - The RV(report) of the steps before in the same run, which this step continues.
      - In check mode it tells this step what those steps would have deleted.
    type: dict
    default: {}
  background:
    description: What the action of the same name on the controller asks for itself, so that the
      step goes on when the connection is lost and says how far it is; leave it out.
    type: dict
    default: {}
  save_plan:
    description:
      - In check mode, make of the run a plan to be kept; the last step returns it.
      - Every step of the run must be told, for each notes what it was asked for.
    type: bool
    default: false
  saved_plan:
    description:
      - The plan of an earlier check that is to be applied, as C(prefect_db_vacuum) returned it.
      - Cutoffs are counted from its instant. The step refuses to begin when what decides differs
        from the plan, or when more rows would go than it has.
    type: dict
    default: {}
  plan_drift:
    description:
      - Percent by which more rows of a table may go than the plan has that is applied.
      - It is 0 or more, at most 1000.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: Delete what finished more than a month ago, crashed runs included
  prefect_api_delete:
    db_url: "{{ vault_prefect_db_url }}"
    api_url: https://prefect.example.com/api
    api_auth_string: "{{ vault_prefect_auth_string }}"
    retention_days: 30
    states: [COMPLETED, FAILED, CANCELLED, CRASHED]
"""

RETURN = r"""
deleted:
  description: Rows that left each table, however they went; in check mode rows that would go,
    exactly.
  returned: unless the step could not begin
  type: dict
  sample: {"flow_run": 36000, "flow_run_state": 108000, "task_run": 180000, "task_run_state":
    540000, "log": 0, "artifact": 200}
kept:
  description: Rows older than their cutoff that stay, and the reason.
  returned: unless the step could not begin
  type: list
  elements: dict
  contains:
    what:
      description: The table.
      type: str
      returned: always
      sample: flow_run
    rows:
      description: How many rows stay.
      type: int
      returned: always
      sample: 3
    why:
      description: The reason.
      type: str
      returned: always
      sample: state CRASHED is not in the policy
    reason:
      description: The reason as one of few words that never change.
      type: str
      returned: always
      sample: policy
report:
  description: The report of the run so far, this step included; hand it to the next step.
  returned: always
  type: dict
  sample: {"schema": 1, "host": "prefect-1", "status": "ok", "deleted": {"log": 3600000}}
summary:
  description: The report for people, line by line.
  returned: always
  type: list
  elements: str
  sample: ["Prefect maintenance of prefect-1", "  3,600,000 rows deleted"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.prefect_maintenance_door import answer


def main() -> None:
    module = AnsibleModule(
        # Written by make docs from request/options.
        argument_spec={
            "api_url": {"type": "str", "default": "http://127.0.0.1:4200/api"},
            "api_auth_string": {"type": "str", "no_log": True},
            "api_key": {"type": "str", "no_log": True},
            "api_headers": {"type": "dict", "no_log": True},
            "api_ca_cert": {"type": "path"},
            "api_validate_certs": {"type": "bool", "default": True},
            "db_url": {"type": "str", "no_log": True},
            "retention_days": {"type": "int", "default": 15},
            "retention": {"type": "dict", "default": {}},
            "states": {
                "type": "list",
                "elements": "str",
                "default": ["COMPLETED", "FAILED", "CANCELLED"],
            },
            "rules": {"type": "list", "elements": "dict", "default": []},
            "event_rules": {"type": "list", "elements": "dict", "default": []},
            "log_rules": {"type": "list", "elements": "dict", "default": []},
            "hold_tags": {
                "type": "list",
                "elements": "str",
                "default": ["keep", "keep-until:*", "hold:*"],
            },
            "stuck": {"type": "dict", "default": {}},
            "max_rows": {"type": "int", "default": 0},
            "archive_dir": {"type": "path"},
            "archive_days": {"type": "int", "default": 0},
            "run_delete_via": {"type": "str", "choices": ["auto", "api", "sql"], "default": "auto"},
            "api_budget": {"type": "int", "default": 600},
            "batch_size": {"type": "int", "default": 50},
            "lock_timeout": {"type": "float", "default": 5.0},
            "throttle": {"type": "dict", "default": {}},
            "limits_file": {"type": "path"},
            "windows": {"type": "list", "elements": "dict", "default": []},
            "db_free_bytes": {"type": "int", "default": 0},
            "max_runtime": {"type": "int", "default": 0},
            "stop_file": {"type": "path"},
            "per_cluster": {"type": "int", "default": 1},
            "textfile_dir": {"type": "path"},
            "concurrency": {"type": "int", "default": 4},
            "reference_time": {"type": "str"},
            "report": {"type": "dict", "default": {}},
            "background": {"type": "dict", "default": {}},
            "save_plan": {"type": "bool", "default": False},
            "saved_plan": {"type": "dict", "default": {}},
            "plan_drift": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    answer(module, "delete")


if __name__ == "__main__":
    main()
