"""Names of hosts and bad numbers, through the playbooks as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import sqlalchemy as sa
import yaml
from maintenance import engine_for, name_of, run_step
from prefect_maintenance.database.one_runner import LOCK_KEY
from prefect_maintenance.errors import Busy
from schemas import report_at

from lab import environments
from lab.environments import ROOT
from lab.postgres import Postgres, free_port

HOSTS = ("fleet", "../up", "50% off: 'x' \"y\"", "{{ 7 * 191 }}", "line\nbreak", "x" * 230)


def play(
    playbook: str, folder: Path, hosts: tuple[str, ...], variables: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Run a playbook for hosts whose databases nobody serves; reports go two folders deep."""
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "prefect_maintenance_python": str(environments.prefect()),
        "prefect_maintenance_db_url": f"postgresql://u:p@127.0.0.1:{free_port()}/prefect",
        "prefect_maintenance_report_dir": str(folder / "reports" / "inner"),
        "prefect_maintenance_home": str(folder / "home"),
        "prefect_maintenance_max_fail_percentage": 100,
        "prefect_maintenance_serial": "100%",
        **variables,
    }
    group = {"hosts": dict.fromkeys(hosts), "vars": shared}
    inventory = {"all": {"children": {"prefect_servers": group}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    return subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", ROOT / "playbooks" / f"{playbook}.yml",
         "-i", folder / "hosts.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True, text=True,
    )  # fmt: skip


def test_every_host_has_a_report_of_its_own_and_none_leaves_the_folder(tmp_path: Path) -> None:
    done = play("maintain", tmp_path, HOSTS, {})
    reports = tmp_path / "reports" / "inner"
    assert reports.is_dir(), done.stdout
    summary = json.loads((reports / "fleet.json").read_text())
    written = [path for path in reports.glob("*.json") if path.name != "fleet.json"]
    files = {path.name: report_at(path) for path in written}
    assert {one["host"]: one["status"] for one in summary["hosts"]} == dict.fromkeys(
        HOSTS, "failed"
    )
    assert sorted(report["host"] for report in files.values()) == sorted(HOSTS)
    assert {path.name for path in reports.glob("*.html")} == {
        name.replace(".json", ".html") for name in (*files, "fleet.json")
    }
    kept = [path.parent.name for path in (reports / "history").glob("*/*.json")]
    assert sorted(kept) == sorted(name.removesuffix(".json") for name in files)
    everything = [*reports.glob("*.json"), *reports.glob("history/*/*.json")]
    assert sorted(tmp_path.rglob("*.json")) == sorted(everything)
    links = re.findall(r'<a href="([^"]+)\.html"', (reports / "fleet.html").read_text())
    assert {f"{unquote(link)}.json" for link in links} == set(files)
    assert "cannot connect to the database" in done.stdout


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"prefect_maintenance_retention_days": 1_000_000}, "retention_days must be a whole"),
        ({"prefect_maintenance_retention": {"logs": "1000000"}}, "retention.logs must be a whole"),
        ({"prefect_maintenance_max_runtime": 10**12}, "max_runtime must be a whole"),
        ({"prefect_maintenance_lock_timeout": 1e9}, "lock_timeout must be seconds"),
        ({"prefect_maintenance_flow_run_name": "nightly-{day}"}, "date, time and host"),
        ({"prefect_maintenance_api_url": "maint:Zebra9@h/api"}, "put user:password into"),
        ({"prefect_maintenance_api_url": "http://h/api?token=Zebra9"}, "put the credentials into"),
    ],
)
def test_nothing_is_laid_down_for_a_number_or_a_template_that_cannot_be(
    tmp_path: Path, variables: dict[str, Any], said: str
) -> None:
    done = play("schedule", tmp_path, ("here",), variables)
    assert done.returncode != 0
    assert said in " ".join(done.stdout.split())
    assert "Zebra9" not in done.stdout
    assert not (tmp_path / "home").exists()


def test_a_role_whose_name_breaks_the_line_is_named_in_one_line(
    cluster: Postgres, database: str
) -> None:
    name, role = name_of(database), "a\nb:c %s '\""
    quoted = role.replace('"', '""')
    cluster.execute(f"CREATE ROLE \"{quoted}\" SUPERUSER LOGIN PASSWORD 'x-y-z'")
    other = engine_for(cluster.url(name, quote(role, safe=""), "x-y-z"))
    with other.connect() as held:
        held.execute(sa.text(f"SELECT pg_advisory_lock({LOCK_KEY})"))
        with pytest.raises(Busy) as raised:
            run_step("purge", {"db_url": database})
    assert "as a b:c %s '\"" in str(raised.value)
    cluster.execute(f'DROP ROLE "{quoted}"')
