#!/usr/bin/python
# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: prefect_db_role
short_description: Make a role in PostgreSQL that may maintain a Prefect database and nothing else
version_added: "0.1.0"
description:
  - Makes the role unless it is there, and grants it what it lacks to measure, purge, delete and
    vacuum; nothing is ever taken away from it.
  - Of tables that it only looks at, it may read single columns; never values of variables or
    parameters of deployments.
  - It also becomes a member of C(pg_read_all_stats) and C(pg_read_all_settings), where RV(report)
    does not name the statement with which a superuser can do that.
  - The password is sent as a verifier, so that no log of the server can hold it.
author:
  - The prefect_maintenance authors (@prefect-maintenance)
requirements:
  - Python 3.11 or newer on the target, with C(prefect), C(sqlalchemy), C(psycopg2-binary)
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and say exactly what it would do, without writing.
  diff_mode:
    support: none
    description: RV(statements) says what changes.
  idempotent:
    support: full
    description: A second run with the same options changes nothing.
  platform:
    platforms: posix
    support: full
    description: The platforms on which the module runs.
# Written by make docs from request/options.
options:
  role:
    description: Name of the role, at most 63 bytes; every character means itself.
    type: str
    required: true
  password:
    description: Password of a role that is made now; that of an older one is left alone.
    type: str
  own:
    description:
      - Make the role a member of the owner of the tables, and let it make tables beside them.
      - VACUUM needs that before PostgreSQL 17, and the rewrite of tables always.
    type: bool
    default: false
  db_url:
    description:
      - URL of Prefect's PostgreSQL database in any SQLAlchemy form, with a user who owns the tables
        and may make roles, or a superuser.
      - When it is not set, E(PREFECT_DB_URL_SYNC) of the target is used, else Prefect's own setting
        there.
    type: str
"""

EXAMPLES = r"""
- name: Let a role of its own maintain the database
  prefect_db_role:
    db_url: "{{ vault_prefect_db_owner_url }}"
    role: prefect_maintenance
    password: "{{ vault_prefect_maintenance_db_password }}"
"""

RETURN = r"""
statements:
  description: What was carried out, or would be in check mode; never the password.
  returned: unless the step could not begin
  type: list
  elements: str
  sample: ["CREATE ROLE prefect_maintenance LOGIN", "GRANT SELECT ON log TO prefect_maintenance"]
report:
  description: The report of this step; its C(warnings) say what the role still may not do.
  returned: always
  type: dict
  sample: {"schema": 1, "status": "ok", "warnings": []}
summary:
  description: The RV(statements), for people.
  returned: always
  type: list
  elements: str
  sample: ["CREATE ROLE prefect_maintenance LOGIN"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.prefect_maintenance_door import answer


def main() -> None:
    module = AnsibleModule(
        # Written by make docs from request/options.
        argument_spec={
            "role": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            "own": {"type": "bool", "default": False},
            "db_url": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    answer(module, "role")


if __name__ == "__main__":
    main()
