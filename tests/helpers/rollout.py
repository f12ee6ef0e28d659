"""A fleet as a user of the playbooks sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tools import BIN

from lab import environments
from lab.environments import ROOT


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

    def run(self, *options: str, playbook: str = "maintain") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options, playbook=playbook),
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
        )

    @staticmethod
    def environment() -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
        return {**clean, "ANSIBLE_FORKS": "5"}

    def fleet(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.reports / "fleet.json").read_text())
        return found

    def statuses(self) -> dict[str, str]:
        return {host["host"]: host["status"] for host in self.fleet()["hosts"]}
