#!/usr/bin/python
# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: prefect_db_vacuum
short_description: Vacuum a Prefect database and give its space back
version_added: "0.1.0"
description:
  - Vacuums and analyses the tables of a Prefect database, and rewrites those with C(VACUUM FULL)
    where that gives back more than both thresholds.
  - C(VACUUM FULL) keeps everybody out of its table while it lasts, which is in proportion to what
    the table keeps; it starts only after the room for the copy was proven where that can be
    known.
  - Indexes that are INVALID, or twice as large as they need to be, are built anew concurrently in
    every mode that gives space back.
  - On SQLite the whole file is rewritten under the same thresholds, and the write-ahead log
    emptied.
  - PostgreSQL only warns and skips a table when the privilege is missing; this module fails.
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
    description: Shows per table its bytes before and after.
  idempotent:
    support: full
    description: A second run with the same options changes nothing.
  platform:
    platforms: posix
    support: full
    description: The platforms on which the module runs.
# Written by make docs from request/options.
options:
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
  vacuum:
    description:
      - How space is given back; V(auto) rewrites the tables that pass both thresholds.
      - Every mode but V(none) vacuums and analyses every table of the catalogue.
      - V(auto) rewrites C(log), C(events) and C(event_resources) online under a lock of
        milliseconds. A table that others refer to gets C(VACUUM FULL), which keeps everybody out of
        it for its time, when that is 0.1 seconds or less, else it is compacted; so is any table
        whose copy does not fit on the disk. Where O(max_lock) is raised above its default, or no
        compaction is open, C(VACUUM FULL) may take as long as that.
      - "V(compact) moves the rows at the end of a table to its free pages and cuts the end off, in
        small transactions: it keeps nobody out and needs hardly any disk, but takes several times
        as long. Values stored out of line stay where they are."
      - V(full) uses C(VACUUM FULL) for all of them, however long it keeps everybody out, V(rewrite)
        only rewrites online, and V(plain) rewrites nothing.
      - V(repack) is V(auto) with the concurrent C(REPACK) of PostgreSQL 19 or, where the extension
        and its program are there, C(pg_repack) in place of C(VACUUM FULL).
      - An SQLite file is rewritten as a whole in V(auto) and V(full). With C(auto_vacuum =
        INCREMENTAL) it gives its free pages back in small steps instead, in V(compact), and in
        V(auto) where C(VACUUM) would keep writers out for longer than O(max_lock) or its copy does
        not fit on the disk.
      - Whatever the thresholds, nothing is rewritten for less than its measurement may be wrong by.
    type: str
    choices: [auto, none, plain, full, rewrite, compact, repack]
    default: auto
  vacuum_min_bytes:
    description:
      - A table is rewritten only when at least so many bytes come back.
      - It is 0 or more, at most 9007199254740991.
    type: int
    default: 104857600
  vacuum_min_percent:
    description:
      - A table is rewritten only when at least so many percent come back.
      - O(vacuum_min_bytes) must be met as well.
      - It is 0 or more, at most 100.
    type: int
    default: 20
  tune_autovacuum:
    description:
      - Whether autovacuum settings that keep purged tables small are set on them.
      - Without it they are only suggested.
    type: bool
    default: false
  lock_timeout:
    description:
      - Seconds to wait for a lock in the database before giving up.
      - It is more than 0 and less than 86400.
    type: float
    default: 5.0
  max_lock:
    description:
      - Seconds for which a table may be locked against readers or writers at a time.
      - What would take longer is done another way or left, and the report says so.
      - What takes longer is taken back and done another way. It does not bound O(vacuum=full),
        which asks for the lock by name, nor the C(VACUUM) of an SQLite file that has no other way.
      - It is more than 0 and less than 86400.
    type: float
    default: 1.0
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
"""

EXAMPLES = r"""
- name: Vacuum, and rewrite tables that give back at least a gigabyte
  prefect_db_vacuum:
    db_url: "{{ vault_prefect_db_url }}"
    vacuum_min_bytes: "{{ '1G' | ansible.builtin.human_to_bytes }}"
"""

RETURN = r"""
tables:
  description:
    - What became of each table; sizes in bytes. C(ways) counts the rows that left it in each way.
    - C(reclaim) is what was done; it is V(none) where that failed, and C(error) says why.
  returned: unless the step could not begin
  type: list
  elements: dict
  sample: [{"name": "log", "bytes_after_delete": 1624260608, "bytes_after": 167772160, "reclaim":
    "rewrite", "ways": {"delete by time range": 3400000, "cascade": 200000}, "error": null}]
bytes_given_back:
  description: Bytes by which the database became smaller on disk.
  returned: unless the step could not begin
  type: int
  sample: 1456488448
saved_plan:
  description: The plan of the whole run, to be given to C(saved_plan) of the steps that delete.
  returned: with O(save_plan), in check mode
  type: dict
  sample: {"schema": 1, "host": "prefect-1", "rows": {"log": 3600000}, "fingerprint": "5f0c"}
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
            "vacuum": {
                "type": "str",
                "choices": ["auto", "none", "plain", "full", "rewrite", "compact", "repack"],
                "default": "auto",
            },
            "vacuum_min_bytes": {"type": "int", "default": 104857600},
            "vacuum_min_percent": {"type": "int", "default": 20},
            "tune_autovacuum": {"type": "bool", "default": False},
            "lock_timeout": {"type": "float", "default": 5.0},
            "max_lock": {"type": "float", "default": 1.0},
            "throttle": {"type": "dict", "default": {}},
            "limits_file": {"type": "path"},
            "windows": {"type": "list", "elements": "dict", "default": []},
            "db_free_bytes": {"type": "int", "default": 0},
            "max_runtime": {"type": "int", "default": 0},
            "stop_file": {"type": "path"},
            "per_cluster": {"type": "int", "default": 1},
            "textfile_dir": {"type": "path"},
            "reference_time": {"type": "str"},
            "report": {"type": "dict", "default": {}},
            "background": {"type": "dict", "default": {}},
            "save_plan": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    answer(module, "vacuum")


if __name__ == "__main__":
    main()
