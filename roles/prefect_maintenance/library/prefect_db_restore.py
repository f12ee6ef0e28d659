#!/usr/bin/python
# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: prefect_db_restore
short_description: Put rows back into a Prefect database that were archived before they went
version_added: "0.1.0"
description:
  - Restores rows that C(prefect_db_purge) and C(prefect_api_delete) wrote into their
    C(archive_dir); one flow run with all that belongs to it, what is dated in a time, or all.
  - Verifies the checksums of all files first, and refuses an archive of another dialect or of
    another revision of Prefect's schema.
  - A row that is there stays as it is; one whose parent is not there is left out.
author:
  - The prefect_maintenance authors (@prefect-maintenance)
requirements:
  - Python 3.11 or newer on the target, with C(prefect), C(sqlalchemy), C(psycopg2-binary)
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and say exactly what it would do; it lays rows down in
      temporary tables alone.
  diff_mode:
    support: full
    description: Shows per table the rows that come back.
  idempotent:
    support: full
    description: A second run with the same options changes nothing.
  platform:
    platforms: posix
    support: full
    description: The platforms on which the module runs.
# Written by make docs from request/options.
options:
  archive:
    description: Folder on the target with an archive, or with those of a server or of all servers
      below it.
    type: path
    required: true
  flow_run:
    description: Id of the only flow run that is restored, with its subflows and all that belongs to
      them.
    type: str
  rule:
    description: Name of a rule; only what it let go is restored, a run with all that belongs to it.
    type: str
  begin:
    description:
      - Restore only what is dated then or later, in ISO 8601; without an offset it is UTC.
      - A flow run comes back with all that belongs to it.
    type: str
  until:
    description: Restore only what is dated before, in ISO 8601; without an offset it is UTC.
    type: str
  db_url:
    description:
      - URL of Prefect's database in any SQLAlchemy form; when it is not set, E(PREFECT_DB_URL_SYNC)
        of the target is used, else Prefect's own setting there.
      - The database is PostgreSQL 14 or newer, or SQLite.
    type: str
  lock_timeout:
    description:
      - Seconds to wait for a lock in the database before giving up.
      - It is more than 0 and less than 86400.
    type: float
    default: 5.0
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
"""

EXAMPLES = r"""
- name: Put a flow run back that somebody misses
  prefect_db_restore:
    db_url: "{{ vault_prefect_db_owner_url }}"
    archive: /srv/prefect-archive/prefect-1
    flow_run: 0c9a2f6e-6b5c-4d0a-9a53-0d5e0f5f3b1d

- name: Put everything back that is dated in March
  prefect_db_restore:
    archive: /srv/prefect-archive/prefect-1
    begin: "2026-03-01"
    until: "2026-04-01"
"""

RETURN = r"""
restored:
  description: Rows that came back, by table; in check mode rows that would.
  returned: unless the step could not begin
  type: dict
  sample: {"flow_run": 1, "task_run": 12, "log": 480}
there:
  description: Rows of the archives that were there already.
  returned: unless the step could not begin
  type: dict
  sample: {"flow_run": 0, "task_run": 0, "log": 0}
left_out:
  description: Rows whose parent is not there, for example runs of a flow that was deleted.
  returned: unless the step could not begin
  type: dict
  sample: {"flow_run": 0, "task_run": 0, "log": 0}
report:
  description: The report of this step.
  returned: always
  type: dict
  sample: {"schema": 1, "status": "ok", "warnings": []}
summary:
  description: The report for people, line by line.
  returned: always
  type: list
  elements: str
  sample: ["log: 480 rows came back, 0 were there"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.prefect_maintenance_door import answer


def main() -> None:
    module = AnsibleModule(
        # Written by make docs from request/options.
        argument_spec={
            "archive": {"type": "path", "required": True},
            "flow_run": {"type": "str"},
            "rule": {"type": "str"},
            "begin": {"type": "str"},
            "until": {"type": "str"},
            "db_url": {"type": "str", "no_log": True},
            "lock_timeout": {"type": "float", "default": 5.0},
            "max_runtime": {"type": "int", "default": 0},
            "stop_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    answer(module, "restore")


if __name__ == "__main__":
    main()
