#!/usr/bin/python
# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: prefect_deployment
short_description: Create or update a Prefect deployment and its schedule
version_added: "0.1.0"
description:
  - Reads the deployment, compares, and writes only what differs; a change of the cron changes the
    schedule only. The flow lies on the worker's machine.
  - At most one run of it is at work at a time; newcomers are cancelled.
  - Waits until the server has scheduled the next three runs, and fails when its scheduler does
    not.
  - Warns when no worker polls the work pool, which a check does not look for.
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
    description: Shows the properties that differ, before and after.
  idempotent:
    support: full
    description: A second run with the same options changes nothing and touches nothing.
  platform:
    platforms: posix
    support: full
    description: The platforms on which the module runs.
# Written by make docs from request/options.
options:
  name:
    description: Name of the deployment.
    type: str
    required: true
  flow:
    description: Name of the flow; that of V(prefect-maintenance) is this tool's own.
    type: str
    default: prefect-maintenance
  entrypoint:
    description: File and function of the flow, relative to O(path).
    type: str
    default: maintenance.py:maintenance
  path:
    description: Folder of the flow on the worker's machine; required unless it is to be absent.
    type: path
  parameters:
    description:
      - Parameters of the flow.
      - Whoever reaches the API can read them.
    type: dict
    default: {}
  schema:
    description: OpenAPI schema of the parameters, for the form in the UI; that of this tool's own
      flow is known.
    type: dict
  environment:
    description:
      - Variables of the run.
      - Whoever reaches the API can read them, so no secrets.
    type: dict
    default: {}
  cron:
    description: When it runs, in five fields; unset for no schedule.
    type: str
  timezone:
    description: Time zone of O(cron).
    type: str
    default: UTC
  description:
    description: What people read about it.
    type: str
  tags:
    description: Tags.
    type: list
    elements: str
    default: []
  wait:
    description: Wait until the server has scheduled the next runs.
    type: bool
    default: true
  state:
    description: Whether it should be there; its runs stay either way.
    type: str
    choices: [present, absent]
    default: present
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
  work_pool:
    description: The work pool whose workers run the deployment.
    type: str
    default: process-pool
"""

EXAMPLES = r"""
- name: Maintain the server on the first of each month
  prefect_deployment:
    name: prefect-maintenance
    path: /opt/prefect-maintenance/flow
    cron: 0 3 1 * *
    timezone: Asia/Bangkok
    parameters:
      retention_days: 30
"""

RETURN = r"""
deployment_id:
  description: Its id; none in check mode when it is not there yet.
  returned: when it should be present
  type: str
  sample: 0b6c8d1e-6f1b-4d0c-9a77-3f6f4a3d2b10
next_runs:
  description: When the next runs are, in UTC.
  returned: when it should be present, not in check mode
  type: list
  elements: str
  sample: ["2026-11-30T20:00:00Z", "2026-12-31T20:00:00Z", "2027-01-31T20:00:00Z"]
next_runs_local:
  description: The same in O(timezone), with its offset.
  returned: when it should be present, not in check mode
  type: list
  elements: str
  sample:
    - "2026-12-01T03:00:00+07:00"
    - "2027-01-01T03:00:00+07:00"
    - "2027-02-01T03:00:00+07:00"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.prefect_maintenance_door import change


def main() -> None:
    module = AnsibleModule(
        # Written by make docs from request/options.
        argument_spec={
            "name": {"type": "str", "required": True},
            "flow": {"type": "str", "default": "prefect-maintenance"},
            "entrypoint": {"type": "str", "default": "maintenance.py:maintenance"},
            "path": {"type": "path"},
            "parameters": {"type": "dict", "default": {}},
            "schema": {"type": "dict"},
            "environment": {"type": "dict", "default": {}},
            "cron": {"type": "str"},
            "timezone": {"type": "str", "default": "UTC"},
            "description": {"type": "str"},
            "tags": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "api_url": {"type": "str", "default": "http://127.0.0.1:4200/api"},
            "api_auth_string": {"type": "str", "no_log": True},
            "api_key": {"type": "str", "no_log": True},
            "api_headers": {"type": "dict", "no_log": True},
            "api_ca_cert": {"type": "path"},
            "api_validate_certs": {"type": "bool", "default": True},
            "work_pool": {"type": "str", "default": "process-pool"},
        },
        supports_check_mode=True,
    )
    change(module, "deployment")


if __name__ == "__main__":
    main()
