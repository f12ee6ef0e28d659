#!/usr/bin/python
# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: prefect_work_pool
short_description: Create or update a Prefect work pool
version_added: "0.1.0"
description:
  - Reads the pool, compares, and writes only what differs; what is not set is left as it is.
  - A pool of the same name and another type is an error.
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
    description: Name of the pool.
    type: str
    required: true
  type:
    description: Its type, as the server knows them.
    type: str
    default: process
  description:
    description: What it is for.
    type: str
  concurrency_limit:
    description: How many runs it works on at a time.
    type: int
  only_environment:
    description:
      - Names of the environment variables that a run may set.
      - A run of the pool can then replace nothing else, neither its command nor its working folder.
        A pool that exists already and is closed in this way lets its runs set these variables as
        well; one that is open stays so, and a warning says so.
    type: list
    elements: str
  worker:
    description:
      - Name of a worker of the pool, for whose heartbeat the module waits.
      - It fails when none comes within two minutes. It reads only, and a check does not wait.
    type: str
  worker_is_new:
    description: The worker was started just now, so that what was heard of it earlier does not
      count.
    type: bool
    default: false
  state:
    description: V(absent) removes the pool, unless deployments use it; then a warning says which.
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
- name: Create a pool of processes
  prefect_work_pool:
    name: process-pool
    api_url: https://prefect.example.com/api
    api_auth_string: "{{ vault_prefect_auth_string }}"

- name: Wait until its worker sends heartbeats
  prefect_work_pool:
    name: process-pool
    worker: prefect-maintenance
    api_url: https://prefect.example.com/api
    api_auth_string: "{{ vault_prefect_auth_string }}"
"""

RETURN = r"""
name:
  description: The pool.
  returned: success
  type: str
  sample: process-pool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.prefect_maintenance_door import change


def main() -> None:
    module = AnsibleModule(
        # Written by make docs from request/options.
        argument_spec={
            "name": {"type": "str", "required": True},
            "type": {"type": "str", "default": "process"},
            "description": {"type": "str"},
            "concurrency_limit": {"type": "int"},
            "only_environment": {"type": "list", "elements": "str"},
            "worker": {"type": "str"},
            "worker_is_new": {"type": "bool", "default": False},
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
    change(module, "work_pool")


if __name__ == "__main__":
    main()
