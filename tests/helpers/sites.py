"""A server as a user of the playbooks sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maintenance import wait_until
from schemas import report_at
from tools import BIN

from lab import environments
from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import PrefectServer


class Site:
    """An inventory with one host and the server it stands for."""

    def __init__(self, server: PrefectServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.reports = folder / "reports"
        self.variables: dict[str, Any] = {}

    def play(
        self, playbook: str, *options: str, cwd: Path = Path("/")
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(playbook, *options),
            cwd=cwd,
            env=self.environment(),
            capture_output=True,
            text=True,
        )

    def command(self, playbook: str, *options: str) -> list[str]:
        inventory = str(ROOT / "inventories" / "demo")
        extra = ["-e", json.dumps(self.variables)] if self.variables else []
        path = str(ROOT / "playbooks" / f"{playbook}.yml")
        return [str(BIN / "ansible-playbook"), path, "-i", inventory, *extra, *options]

    def environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if k != "ANSIBLE_CONFIG"},
            "DEMO_API_URL": self.server.api_url,
            "DEMO_DB_URL": self.server.db_url,
            "DEMO_PYTHON": str(environments.prefect()),
            "DEMO_REPORT_DIR": str(self.reports),
        }

    def report(self, name: str = "demo.json") -> dict[str, Any]:
        return report_at(self.reports / name)

    def fleet(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.reports / "fleet.json").read_text())
        return found


def module_at_work(
    cluster: Postgres, play: subprocess.Popen[str], sql: str, values: Sequence[Any] = ()
) -> int:
    """Wait until a module of a play is at a statement; returns its process.

    Args:
        cluster: where.
        play: what runs the module; the test fails when it ends before.
        sql: gives the name of the session that is at the statement.
        values: what is bound in it.
    """
    found = wait_until(lambda: cluster.execute(sql, values=values) or play.poll() is not None, 600)
    assert isinstance(found, list), play.communicate()[0]
    return int(found[0][0].rsplit(" ", 1)[1])


def recap(output: str) -> dict[str, int]:
    line = next(line for line in output.splitlines() if line.startswith("demo "))
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
