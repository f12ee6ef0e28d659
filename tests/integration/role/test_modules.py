"""Every module is run by Ansible with every one of its options, and changes nothing twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from listener import make_block
from maintenance import fill, name_of
from prefect_maintenance.request.settings import Api
from prefect_maintenance.schedule import CHANGES
from prefect_maintenance.server.api import open_api
from workers import heartbeats
from world import SAME, Policy

from lab import environments
from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import PrefectServer

LIBRARY = ROOT / "roles" / "prefect_maintenance" / "library"
CA = "{{ lookup('ansible.builtin.pipe', python ~ ' -m certifi') }}"

POLICY = {
    "retention_days": 20,
    "retention": {"logs": 10},
    "states": ["COMPLETED", "FAILED"],
    "rules": [{"name": "r", "flows": ["none*"], "keep": {"days": 3, "last": 2}}],
    "event_rules": [{"events": ["none.*"], "keep": {"days": 3}}],
    "log_rules": [{"below": "INFO", "loggers": ["none"], "keep": {"days": 3}}],
    "hold_tags": ["keep", "keep-until:*"],
    "reference_time": "{{ now }}",
    "lock_timeout": 3.5,
    "db_url": "{{ db_url }}",
    "background": {},
}
API = {
    "api_url": "{{ api_url }}",
    "api_auth_string": "admin:unasked",
    "api_key": "unasked",
    "api_headers": {"X-Test": "yes"},
    "api_ca_cert": CA,
    "api_validate_certs": True,
}
WORK = {
    "textfile_dir": "{{ textfile_dir }}",
    "max_runtime": 300,
    "stop_file": "{{ stop_file }}",
    "per_cluster": 2,
    "throttle": {"nice": 0.1, "replica_lag_bytes": 1000000000},
    "limits_file": "{{ stop_file }}.limits",
    "windows": [{"cron": "* * * * *", "duration": "1h", "timezone": "UTC", "kind": "allow"}],
}
ARCHIVE = {"archive_dir": "{{ stop_file }}.archive", "archive_days": 400}
# No plan was saved; test_saved_plan.py applies one.
PLAN = {"save_plan": True, "saved_plan": {}, "plan_drift": 20}
RESTORE = {
    "archive": ARCHIVE["archive_dir"], "db_url": "{{ db_url }}", "lock_timeout": 3.5,
    "max_runtime": 300, "stop_file": "{{ stop_file }}",
}  # fmt: skip
# One task for each set of options that go together.
TASKS: list[tuple[str, dict[str, Any]]] = [
    ("prefect_db_role", {
        "db_url": "{{ db_url }}", "role": "converged", "password": "s3cret", "own": True}),
    ("prefect_db_bloat_info", {
        **POLICY, **API, "report": {"host": "here"}, "growth_drivers": True,
        "what_if": True,
        "before": ["purge", "delete", "vacuum"], "locate": False,
        "textfile_dir": "{{ textfile_dir }}",
        "db_free_bytes": 10**12,
        "disk": {"host": "db1", "path": "/data", "df": "x 100 40 60 40% /data", "why": ""}}),
    ("prefect_db_purge", {
        **POLICY, **API, **WORK, "report": "{{ prefect_db_bloat_info.report }}",
        "purge_strategy": "delete", "batch_size": 500, "vacuum": "plain",
        "vacuum_min_bytes": 1, "vacuum_min_percent": 1, "max_lock": 2.5,
        "db_free_bytes": 10**12, "max_rows": 10**9, "before": ["delete"],
        "stuck": {"RUNNING": 300}, **PLAN, **ARCHIVE}),
    ("prefect_api_delete", {
        **POLICY, **API, **WORK, "report": "{{ prefect_db_purge.report }}",
        "run_delete_via": "api", "batch_size": 20, "concurrency": 2, "api_budget": 60,
        "db_free_bytes": 10**12, "max_rows": 10**9, "stuck": {"RUNNING": 300},
        **PLAN, **ARCHIVE}),
    ("prefect_db_restore", {**RESTORE, "flow_run": "55555555-5555-4555-8555-555555555555"}),
    ("prefect_db_restore", {**RESTORE, "rule": "r"}),
    ("prefect_db_restore", {**RESTORE, "begin": "1999-01-01", "until": "1999-02-01T00:00:00Z"}),
    ("prefect_db_vacuum", {
        **POLICY, **WORK, "report": "{{ prefect_api_delete.report }}", "vacuum": "full",
        "vacuum_min_bytes": 100000000, "vacuum_min_percent": 90, "max_lock": 2.5,
        "db_free_bytes": 10**12, "tune_autovacuum": False, "save_plan": True}),
    ("prefect_work_pool", {
        **API, "name": "converged", "type": "process", "description": "of a test",
        "concurrency_limit": 2, "only_environment": ["A"], "worker": "converged",
        "worker_is_new": True, "state": "present"}),
    ("prefect_deployment", {
        **API, "name": "converged", "flow": "converged", "entrypoint": "a.py:b", "path": "/srv",
        "work_pool": "converged", "parameters": {"a": 1}, "environment": {"A": "b"},
        "schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
        "cron": "0 3 1 * *", "timezone": "Asia/Bangkok", "description": "of a test",
        "tags": ["test"], "wait": True, "state": "present"}),
    ("prefect_automation", {
        **API, "deployment": "converged", "flow": "converged", "block": "custom-webhook/converged",
        "within": 0, "cron": "0 3 1 * *", "timezone": "Asia/Bangkok", "state": "present"}),
]  # fmt: skip


@pytest.mark.parametrize("module", sorted(path.stem for path in LIBRARY.glob("*.py")))
def test_every_option_of_a_module_is_converged_below(module: str) -> None:
    text = re.search(r'^DOCUMENTATION = r"""(.*?)"""', (LIBRARY / f"{module}.py").read_text(),
                     re.M | re.S)  # fmt: skip
    assert text is not None
    converged = {option for name, options in TASKS if name == module for option in options}
    assert converged == set(yaml.safe_load(text.group(1))["options"])


def test_modules_converge_with_all_their_options_and_the_second_run_changes_nothing(
    shared_server: PrefectServer, cluster: Postgres, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    fill(shared_server.db_url, Policy(now, SAME), seed=5, size=40)
    tasks = [
        {"name": f"Run {module}", module: options, "register": module} for module, options in TASKS
    ]
    play = {"hosts": "all", "gather_facts": False, "roles": [], "tasks": tasks}
    (tmp_path / "stop.archive").mkdir()
    (tmp_path / "converge.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": str(environments.prefect()),
        "python": str(environments.prefect()),
        "db_url": shared_server.db_url,
        "api_url": shared_server.api_url,
        "now": now.isoformat(),
        "stop_file": str(tmp_path / "stop"),
        "textfile_dir": str(tmp_path),
    }
    command: list[str | Path] = [
        Path(sys.executable).parent / "ansible-playbook", tmp_path / "converge.yml",
        "-i", "here,", "-e", json.dumps(variables),
    ]  # fmt: skip
    with open_api(Api(shared_server.api_url)) as api:
        make_block(api, "converged", "custom-webhook", {"name": "a", "url": "http://127.0.0.1/"})
    ended = []
    for _ in range(2):
        with heartbeats(shared_server, "converged", "converged"):
            done = subprocess.run(
                command,
                env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
                capture_output=True,
                text=True,
            )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "s3cret" not in done.stdout.replace(json.dumps(variables), "")
        ended.append(int(re.findall(r"changed=(\d+)", done.stdout)[0]))
    assert ended[0] >= 6
    assert ended[1] == 0
    watched = {"deployment": "converged", "state": "absent"}
    assert CHANGES["automation"]({"api_url": shared_server.api_url, **watched}, check=False).changed
    absent = {"api_url": shared_server.api_url, "name": "converged", "state": "absent"}
    CHANGES["deployment"]({**absent, "flow": "converged"}, check=False)
    CHANGES["work_pool"](absent, check=False)
    cluster.execute("DROP OWNED BY converged", name_of(shared_server.db_url))
    cluster.execute("DROP ROLE converged")
