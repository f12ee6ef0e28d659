#!/usr/bin/python
# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: prefect_automation
short_description: Create or update Prefect automations that tell how a deployment's runs end
version_added: "0.1.0"
description:
  - One automation tells when a run of the deployment has failed, crashed or timed out, another when
    none has completed in time. Either can be paused in the UI; this module resumes it.
  - Reads them, compares, and writes only what differs.
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
    description: Shows the automations that differ, before and after.
  idempotent:
    support: full
    description: A second run with the same options changes nothing and touches nothing.
  platform:
    platforms: posix
    support: full
    description: The platforms on which the module runs.
# Written by make docs from request/options.
options:
  deployment:
    description: Name of the deployment.
    type: str
    required: true
  flow:
    description: Name of its flow.
    type: str
    default: prefect-maintenance
  block:
    description:
      - Notification block that tells people, as C(type/name).
      - E.g. V(slack-webhook/operations); without one Prefect only makes the event
        C(prefect.automation.triggered).
    type: str
  within:
    description:
      - Seconds in which a run must complete; V(0) means two periods of O(cron).
      - The time begins anew with each run that completes.
      - It is 0 or more, at most 315360000.
    type: int
    default: 0
  cron:
    description: When the deployment runs; unset, and without O(within), no run is expected.
    type: str
  timezone:
    description: Time zone of O(cron).
    type: str
    default: UTC
  state:
    description: Whether they should be there.
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
"""

EXAMPLES = r"""
- name: Tell the operators when the maintenance fails, or has not completed for two months
  prefect_automation:
    deployment: prefect-maintenance
    cron: "0 3 1 * *"
    timezone: Asia/Bangkok
    block: slack-webhook/operations
"""

RETURN = r"""
automations:
  description: The ids of the automations by their names; in check mode of those that are there.
  returned: success
  type: dict
  sample:
    "prefect-maintenance: a run failed": 0b6c8d1e-6f1b-4d0c-9a77-3f6f4a3d2b10
    "prefect-maintenance: no run completed in time": 6a0f4c0e-70cf-4a52-8f0e-52a1d5a1c3de
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.prefect_maintenance_door import change


def main() -> None:
    module = AnsibleModule(
        # Written by make docs from request/options.
        argument_spec={
            "deployment": {"type": "str", "required": True},
            "flow": {"type": "str", "default": "prefect-maintenance"},
            "block": {"type": "str"},
            "within": {"type": "int", "default": 0},
            "cron": {"type": "str"},
            "timezone": {"type": "str", "default": "UTC"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "api_url": {"type": "str", "default": "http://127.0.0.1:4200/api"},
            "api_auth_string": {"type": "str", "no_log": True},
            "api_key": {"type": "str", "no_log": True},
            "api_headers": {"type": "dict", "no_log": True},
            "api_ca_cert": {"type": "path"},
            "api_validate_certs": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    change(module, "automation")


if __name__ == "__main__":
    main()
