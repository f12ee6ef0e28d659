"""Jobs as AWX runs them: the whole project in a folder, a template's variables, artifacts."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import ansible_runner
import yaml
from tools import BIN, read_yaml

from lab import environments
from lab.environments import ROOT
from lab.postgres import PASSWORD


class Job:
    """A private data folder laid out as AWX does, with the whole project in it."""

    def __init__(self, folder: Path, hosts: dict[str, dict[str, Any]]) -> None:
        self.folder = folder
        (folder / "inventory").mkdir(parents=True)
        (folder / "env").mkdir()
        project = folder / "project"
        project.mkdir()
        for name in ("ansible.cfg", "playbooks", "roles", "library", "module_utils"):
            source = ROOT / name
            if source.is_symlink():
                (project / name).symlink_to(source.readlink())
            elif source.is_dir():
                shutil.copytree(source, project / name, symlinks=True)
            else:
                shutil.copy(source, project / name)
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "prefect_maintenance_python": str(environments.prefect()),
            "prefect_maintenance_home": str(folder / "home"),
        }
        inventory = {"all": {"hosts": hosts, "vars": common}}
        (folder / "inventory" / "hosts.yml").write_text(yaml.safe_dump(inventory))

    def run(self, template: str, answers: dict[str, Any], **options: Any) -> ansible_runner.Runner:
        """Launch a job template of awx/ with the answers to its survey."""
        told = read_yaml(ROOT / "awx" / "job_templates" / f"{template}.yml")["job_template"]
        check = "--check " if told["job_type"] == "check" else ""
        secret = {"vault_prefect_maintenance_db_password": PASSWORD}
        # As AWX does; given as an argument they would stand in the command that the job records.
        extra = {**told.get("extra_vars", {}), **secret, **answers}
        (self.folder / "env" / "extravars").write_text(json.dumps(extra))
        return ansible_runner.run(
            private_data_dir=str(self.folder),
            playbook=told["playbook"],
            cmdline=f"{check}--forks 5 -vvv",
            envvars={"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
            quiet=True,
            **options,
        )


def artifacts(job: ansible_runner.Runner, name: str = "prefect_maintenance") -> dict[str, Any]:
    """Return what the job hands to the next one, as AWX shows it."""
    ended = next(e for e in job.events if e["event"] == "playbook_on_stats")
    found: dict[str, Any] = ended["event_data"]["artifact_data"][name]
    return found
