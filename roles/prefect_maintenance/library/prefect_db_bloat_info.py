#!/usr/bin/python
# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: prefect_db_bloat_info
short_description: Report sizes, dead tuples and bloat of a Prefect database
version_added: "0.1.0"
description:
  - Measures the tables of a Prefect database apart into heap, TOAST and indexes, with rows, dead
    tuples, bloat, and the oldest row against the retention policy.
  - Bloat is measured with C(pgstattuple_approx) where that extension is installed, exactly with
    C(dbstat) in SQLite, and otherwise estimated; the result names the method.
  - Names what keeps C(VACUUM) from removing dead rows, indexes that are INVALID or bloated, and
    settings of autovacuum that let tables grow, each with what helps.
  - Writes nothing; works on a standby too.
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
    support: none
    description: Nothing is changed.
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
    description:
      - URL of the Prefect API as the target sees it; it ends in V(/api).
      - When it is set, the module first proves that the API and the database belong to the same
        server.
    type: str
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
  lock_timeout:
    description:
      - Seconds to wait for a lock in the database before giving up.
      - It is more than 0 and less than 86400.
    type: float
    default: 5.0
  db_free_bytes:
    description:
      - Bytes free on the disk of a database that nobody can look at; V(0) is unknown.
      - A managed database has no host to log in to.
      - It is 0 or more, at most 9223372036854775807.
    type: int
    default: 0
  textfile_dir:
    description: Folder on the target from which node_exporter's textfile collector reads; each step
      writes C(prefect_maintenance.prom) there.
    type: path
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
  growth_drivers:
    description: Also say which deployments and flows made the most rows since the flow runs'
      cutoff.
    type: bool
    default: false
  what_if:
    description: Also say what would go with this policy, from statistics and samples in seconds; in
      check mode it is counted.
    type: bool
    default: false
  locate:
    description: Only say in which folder of its server the files of the database lie.
    type: bool
    default: false
  disk:
    description:
      - "What C(df -P -k) printed on the host on whose disk the database lies: C(host), C(path),
        C(df), or C(why) there is nothing."
      - Without it, only a disk of the target itself is looked at.
    type: dict
    default: {}
  before:
    description: Steps that are to follow; what the role in O(db_url) lacks for any of them is said
      now, before anything is changed.
    type: list
    elements: str
    choices: [purge, delete, vacuum]
    default: []
"""

EXAMPLES = r"""
- name: Measure the database of this server
  prefect_db_bloat_info:
    db_url: "{{ vault_prefect_db_url }}"
    growth_drivers: true
  register: sizes

- name: Show the report
  ansible.builtin.debug:
    var: sizes.summary
"""

RETURN = r"""
server:
  description: The Prefect server, when O(api_url) is set, with the settings of its own vacuum
    service.
  returned: unless the step could not begin
  type: dict
  sample: {"api_url": "http://127.0.0.1:4200/api", "version": "3.8.8", "db_vacuum": null}
database:
  description: The database, and its size in bytes.
  returned: unless the step could not begin
  type: dict
  sample: {"dialect": "postgresql", "version": "15.8", "revision": "d4a7e1c93f52", "bytes":
    107374182400}
tables:
  description: Every table that is kept lean; sizes in bytes. C(oldest) is the oldest row,
    C(oldest_due) the oldest that the policy would delete, null when there is none;
    C(rows_per_day) and C(bytes_per_day) come lately, null where that is not known.
  returned: unless the step could not begin
  type: list
  elements: dict
  sample:
    - name: log
      rows: 4000000
      rows_method: exact
      heap_bytes: 1023410176
      toast_bytes: 8192
      index_bytes: 600842240
      bytes: 1624260608
      dead: 0
      bloat_bytes: 0
      bloat_percent: 0.0
      bloat_method: estimate from planner statistics, indexes and TOAST alike
      oldest: "2026-04-02T00:00:00Z"
      oldest_due: "2026-05-01T00:00:00Z"
      cutoff: "2026-10-16T00:00:00Z"
      rows_per_day: 120000.0
      bytes_per_day: 48727818
      growth_method: counted over 14 days
place:
  description: The folder of the database's files on its own server, or why it is not known, and
    the other folders of the server that the work writes to.
  returned: with O(locate), and then nothing else of the database
  type: dict
  sample: {"path": "/var/lib/postgresql/15/main", "why": "", "others":
    ["/var/lib/postgresql/15/main/pg_wal"]}
growth:
  description: Deployments and flows whose runs made the most rows, with O(growth_drivers).
  returned: unless the step could not begin
  type: list
  elements: dict
  sample: [{"flow": "etl", "deployment": "nightly", "flow_runs": 900, "task_runs": 40000, "logs":
    2000000}]
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
            "api_url": {"type": "str"},
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
            "lock_timeout": {"type": "float", "default": 5.0},
            "db_free_bytes": {"type": "int", "default": 0},
            "textfile_dir": {"type": "path"},
            "reference_time": {"type": "str"},
            "report": {"type": "dict", "default": {}},
            "background": {"type": "dict", "default": {}},
            "growth_drivers": {"type": "bool", "default": False},
            "what_if": {"type": "bool", "default": False},
            "locate": {"type": "bool", "default": False},
            "disk": {"type": "dict", "default": {}},
            "before": {
                "type": "list",
                "elements": "str",
                "choices": ["purge", "delete", "vacuum"],
                "default": [],
            },
        },
        supports_check_mode=True,
    )
    answer(module, "bloat_info")


if __name__ == "__main__":
    main()
