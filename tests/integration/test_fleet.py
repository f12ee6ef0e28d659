"""A rollout over many servers: canary, waves, failures that stay alone, one summary, retry."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import environments
from lab.fleet import Fleet
from lab.postgres import Postgres, free_port

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DAYS = 20
NAMES = [f"prefect-{n:02}" for n in range(1, 11)]
BROKEN = {"prefect-04", "prefect-07", "prefect-09"}


class Rollout:
    """An inventory of many hosts, and the playbooks run on it."""

    def __init__(self, folder: Path, hosts: dict[str, dict[str, Any]], **common: Any) -> None:
        self.folder, self.hosts, self.common = folder, hosts, common
        self.reports = folder / "reports"

    def command(self, *options: str, playbook: str = "maintain") -> list[str]:
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "prefect_maintenance_python": str(environments.prefect()),
            "prefect_maintenance_report_dir": str(self.reports),
            **self.common,
        }
        inventory = self.folder / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": self.hosts, "vars": common}}))
        path = ROOT / "playbooks" / f"{playbook}.yml"
        return [str(BIN / "ansible-playbook"), str(path), "-i", str(inventory), *options]

    def run(
        self, *options: str, playbook: str = "maintain"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options, playbook=playbook),
            env={k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
            | {"ANSIBLE_FORKS": "5"},
            cwd=self.folder,
            capture_output=True,
            text=True,
        )

    def fleet(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.reports / "fleet.json").read_text())
        return found

    def statuses(self) -> dict[str, str]:
        return {host["host"]: host["status"] for host in self.fleet()["hosts"]}


def recap(output: str) -> dict[str, dict[str, int]]:
    lines = output.split("PLAY RECAP", 1)[1].splitlines()[1:]
    return {
        line.split()[0]: {key: int(n) for key, n in re.findall(r"(\w+)=(\d+)", line)}
        for line in lines
        if ":" in line
    }


@pytest.fixture(scope="module")
def servers(cluster: Postgres, template: str) -> Iterator[Fleet]:
    with Fleet(cluster, template) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def hosts(servers: Fleet) -> dict[str, dict[str, Any]]:
    return {name: servers.add(name, DAYS) for name in NAMES}


def broken(hosts: dict[str, dict[str, Any]], cluster: Postgres) -> dict[str, dict[str, Any]]:
    """Return the fleet with one server down, one wrong password and one that is out of reach."""
    url = hosts["prefect-07"]["prefect_maintenance_db_url"]
    wrong = {
        "prefect-04": {"prefect_maintenance_api_url": f"http://127.0.0.1:{free_port()}/api"},
        "prefect-07": {"prefect_maintenance_db_url": url.replace("lab-secret", "no-secret")},
        "prefect-09": {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": free_port(),
        },
    }
    return {name: {**variables, **wrong.get(name, {})} for name, variables in hosts.items()}


def test_a_fleet_is_checked_rolled_out_around_three_broken_servers_and_then_converges(
    servers: Fleet, hosts: dict[str, dict[str, Any]], cluster: Postgres, tmp_path: Path
) -> None:
    rollout = Rollout(tmp_path, hosts)
    checked = rollout.run("--check")
    assert checked.returncode == 0, checked.stdout
    assert {servers.logs(name) for name in NAMES} == {DAYS}
    foretold = rollout.fleet()
    assert foretold["check_mode"] is True
    assert foretold["deleted"] == {"log": 6 * len(NAMES)}
    assert checked.stdout.count("PLAY [Keep Prefect servers lean]") == 3

    rollout.hosts = broken(hosts, cluster)
    done = rollout.run()
    assert done.returncode == 2, done.stdout
    assert rollout.statuses() == {n: "failed" if n in BROKEN else "ok" for n in NAMES}
    for name in NAMES:
        assert servers.logs(name) == (DAYS if name in BROKEN else DAYS - 6), name
    reasons = {host["host"]: host["failure"] for host in rollout.fleet()["hosts"]}
    assert "cannot reach the Prefect API" in reasons["prefect-04"]
    assert "check user and password" in reasons["prefect-07"]
    assert "the server cannot be reached" in reasons["prefect-09"]
    assert "no-secret" not in done.stdout + json.dumps(rollout.fleet())
    ended = recap(done.stdout)
    assert {name for name in NAMES if ended[name]["failed"]} == BROKEN
    assert "10 servers: 7 ok, 3 failed; 42 rows gone" in done.stdout

    rollout.hosts = hosts
    again = rollout.run("--limit", f"@{rollout.reports / 'fleet.retry'}")
    assert again.returncode == 0, again.stdout
    assert set(rollout.statuses()) == BROKEN
    assert {servers.logs(name) for name in NAMES} == {DAYS - 6}

    nothing = rollout.run()
    assert nothing.returncode == 0, nothing.stdout
    assert {ended["changed"] for ended in recap(nothing.stdout).values()} == {0}
    assert rollout.fleet()["deleted"] == {}
    assert not (rollout.reports / "fleet.retry").read_text()


def test_a_broken_canary_stops_the_rollout_before_the_next_wave(
    servers: Fleet, hosts: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    three = {name: hosts[name] for name in NAMES[:3]}
    three[NAMES[0]] = {**three[NAMES[0]], "prefect_maintenance_states": ["RUNNING"]}
    rollout = Rollout(tmp_path, three)
    done = rollout.run()
    assert done.returncode == 2
    assert list(rollout.statuses().values()) == ["failed", "not reached", "not reached"]
    assert "1 of 1 server failed" in rollout.fleet()["stopped"]
    assert (rollout.reports / "fleet.retry").read_text().split() == NAMES[:3]
    assert not (rollout.reports / f"{NAMES[1]}.json").exists()
