"""Secrets through both doors: what is shown, what is written, and that nothing is damaged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from maintenance import clear, engine_for, fill, name_of
from schemas import report_at
from sites import Site
from world import SAME, Policy, dump

from lab import environments
from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import PrefectServer

MODULE_UTILS = ROOT / "roles" / "prefect_maintenance" / "module_utils"
PASSWORD = "Tr0ub4{0}dor{0}Zebra9"
# How the flow's own errors are called.
FAILED = r"(MaintenanceError|SettingsError|ConnectionFailed|Unsupported)\b"
# Each has a part that could pass for a host, a path, an option or a port.
SAMPLE = [
    shape.format(PASSWORD.format(special))
    for shape, special in (
        ("postgresql://maint:{}@127.0.0.1:9/prefect", "@"),
        ("postgresql://maint:{}@127.0.0.1:9/prefect", "@x/"),
        ("postgresql://maint:{}@127.0.0.1:9/prefect", "@x?"),
        ("postgresql://maint:{}@127.0.0.1:9/prefect", "%zz\n"),
        ("postgresql://maint@127.0.0.1:9/prefect?token={}", ":"),
        ("postgresql://maint:{}", ":"),
        ("maint:{}@127.0.0.1/prefect", "/"),
        ("sqlite:///maint:{}@127.0.0.1/prefect.db", "/"),
        ("mysql://maint:{}@127.0.0.1/prefect", "["),
    )
]
APIS = [
    shape.format(PASSWORD.format("%"))
    for shape in (
        "maint:{}@127.0.0.1/api",
        "http://maint:{}/api",
        "http://127.0.0.1:9/api?token={}",
        "//maint:{}@127.0.0.1/api",
    )
]


def parts(text: str) -> list[str]:
    """Return the parts of the password that the text shows."""
    return [part for part in ("Tr0u", "r0ub", "0ub4", "Zebr", "ebra", "bra9") if part in text]


def test_modules_show_no_part_of_a_password_at_the_third_verbosity(tmp_path: Path) -> None:
    asked = [{"db_url": url} for url in SAMPLE]
    asked += [{"db_url": "postgresql://u@127.0.0.1:9/d", "api_url": url} for url in APIS]
    task = {
        "name": "Ask for what cannot be",
        "prefect_db_bloat_info": {
            "db_url": "{{ asked[item].db_url }}",
            "api_url": "{{ asked[item].api_url | default(omit) }}",
        },
        "loop": list(range(len(asked))),
        "register": "ended",
        "ignore_errors": True,
    }
    tell = {
        "name": "Tell how many failed",
        "ansible.builtin.debug": {
            "msg": "failed: {{ ended.results | select('failed') | length }}, in one line: "
            "{{ ended.results | rejectattr('msg', 'search', '\\n') | length }}"
        },
    }
    play = {"hosts": "all", "gather_facts": False, "tasks": [task, tell]}
    (tmp_path / "ask.yml").write_text(yaml.safe_dump([play]))
    (tmp_path / "asked.json").write_text(json.dumps({"asked": asked}))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "ask.yml", "-i", "here,", "-vvv",
         "-e", "@asked.json", "-e", "ansible_connection=local",
         "-e", f"ansible_python_interpreter={environments.prefect()}"],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )  # fmt: skip
    assert f"failed: {len(asked)}, in one line: {len(asked)}" in done.stdout, done.stdout
    assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in done.stdout
    assert not parts(done.stdout + done.stderr)


def everything_said(server: PrefectServer) -> str:
    """Return every text that a run leaves in Prefect's database."""
    with engine_for(server.db_url).connect() as connection:
        return "".join(
            str(connection.execute(sa.text(f"SELECT * FROM {table}")).all())
            for table in ("log", "artifact", "flow_run", "flow_run_state", "task_run_state")
        )


@pytest.mark.parametrize("credentials", [
    {"db_url": SAMPLE[1]},
    {"db_url": "postgresql://maint:{0}@127.0.0.1:9/d?password={0}".format(PASSWORD.format("#"))},
    {"api_url": APIS[0]},
])  # fmt: skip
def test_a_run_as_a_flow_shows_no_part_of_a_password(
    shared_server: PrefectServer, tmp_path: Path, credentials: dict[str, str]
) -> None:
    clear(engine_for(shared_server.db_url))
    held = {"db_url": shared_server.db_url, "api_url": shared_server.api_url, **credentials}
    path = tmp_path / "credentials.json"
    path.touch(0o600)
    path.write_text(json.dumps(held))
    done = subprocess.run(
        [environments.prefect(), "-c",
         "from prefect_maintenance.flow import maintenance; maintenance()"],
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(MODULE_UTILS), "PREFECT_HOME": str(tmp_path),
             "PREFECT_API_URL": shared_server.api_url,
             "PREFECT_MAINTENANCE_CREDENTIALS": str(path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert re.search(FAILED, done.stderr)
    said = everything_said(shared_server)
    assert re.search(FAILED, said)
    assert not parts(done.stdout + done.stderr + said)


@pytest.fixture
def worded(shared_server: PrefectServer, cluster: Postgres) -> Iterator[str]:
    """The URL of a role whose password is a word that reports are made of."""
    cluster.execute("CREATE ROLE worded SUPERUSER LOGIN PASSWORD 'postgres'")
    yield cluster.url(name_of(shared_server.db_url), "worded", "postgres")
    cluster.execute("DROP ROLE worded")


def test_secrets_that_are_short_or_ordinary_leave_the_report_whole_and_are_not_shown(
    shared_server: PrefectServer, worded: str, tmp_path: Path
) -> None:
    engine = engine_for(shared_server.db_url)
    now = datetime.now(UTC) + timedelta(minutes=30)
    fill(engine, Policy(now, SAME), seed=5)
    site = Site(shared_server, tmp_path)
    host = shared_server.api_url.split("/")[2]
    headers = {
        "Host": host,
        "X-Tenant": "1",
        "X-Year": "2026",
        "X-On": "true",
        "X-Token": "t0ken-of-the-proxy",
    }
    variables = {
        "prefect_maintenance_db_url": worded,
        "prefect_maintenance_api_key": "log",
        "prefect_maintenance_api_headers": headers,
    }
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    done = site.play("maintain", "-vvv", "-e", f"@{tmp_path / 'variables.json'}")
    assert done.returncode == 0, done.stdout
    written = (site.reports / "demo.json").read_text()
    report = report_at(site.reports / "demo.json")
    left = dump(engine, ["log"])["log"]
    log = next(table for table in report["tables"] if table["name"] == "log")
    assert report["status"] == "ok"
    assert report["deleted"]["log"] == log["rows_before"] - len(left) > 0
    assert report["database"]["dialect"] == "postgresql"
    assert report["server"]["api_url"] == shared_server.api_url
    assert datetime.fromisoformat(report["reference_time"])
    assert report["steps"] == ["inspect", "purge", "delete", "vacuum"]
    assert "********" not in written
    assert "//********" not in done.stdout
    assert f"Prefect {report['server']['version']} at {shared_server.api_url}" in done.stdout
    shown = done.stdout + done.stderr
    for secret in ("X-Tenant", "X-Year", "X-Token", "t0ken-of-the-proxy", worded, ":postgres@"):
        assert secret not in shown + written, secret
    assert '"api_key": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"' in shown
