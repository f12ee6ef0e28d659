"""A misspelled variable costs no row, and reports lie where Ansible does not read them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from maintenance import clear, engine_for
from schemas import report_at
from tools import BIN

from lab import environments
from lab.environments import ROOT
from lab.postgres import free_port
from lab.server import PrefectServer

PLAYBOOKS = ("maintain", "report", "schedule", "stop", "privileges", "restore")
OLD = "SELECT count(*) FROM log WHERE timestamp < now() - interval '20 days'"


class Project:
    """A project of one's own: playbooks, an inventory folder, a database that nobody serves."""

    def __init__(self, folder: Path, **variables: Any) -> None:
        self.folder, self.inventory = folder, folder / "inventory"
        self.inventory.mkdir()
        shutil.copytree(ROOT / "playbooks", folder / "playbooks", symlinks=True)
        (folder / "roles").symlink_to(ROOT / "roles")
        self.reports = folder / "playbooks" / "reports"
        self.home = folder / "home"
        self.variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "prefect_maintenance_python": str(environments.prefect()),
            "prefect_maintenance_db_url": f"postgresql://u:p@127.0.0.1:{free_port()}/prefect",
            "prefect_maintenance_home": str(self.home),
            "prefect_maintenance_max_fail_percentage": 100,
            **variables,
        }
        self.hosts: dict[str, dict[str, Any]] = {"here": {}}

    def play(self, playbook: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook of the project from another folder."""
        group = {"hosts": self.hosts, "vars": self.variables}
        inventory = {"all": {"children": {"prefect_servers": group}}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(inventory))
        path = self.folder / "playbooks" / f"{playbook}.yml"
        return self.run("ansible-playbook", str(path), *options)

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's programs on the inventory's folder."""
        return subprocess.run(
            [BIN / program, "-i", self.inventory, *arguments],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            cwd="/", capture_output=True, text=True,
        )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def said_once(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Make sure that a play failed with one line on the screen that says this, and little else."""
    printed = done.stdout + done.stderr
    assert done.returncode != 0, printed
    assert [line for line in printed.splitlines() if message in line], printed
    before_the_recap = [line for line in printed.split("PLAY RECAP")[0].splitlines() if line]
    assert len(before_the_recap) < 20, printed
    assert "jinja" not in printed.lower()
    assert "description:" not in printed


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_misspelled_variable_is_refused_before_anything_is_done(
    project: Project, playbook: str
) -> None:
    project.variables["prefect_maintenance_retention_dayz"] = 3
    done = project.play(playbook)
    said_once(
        done,
        "prefect_maintenance_retention_dayz is no variable of this role; "
        "did you mean prefect_maintenance_retention_days?",
    )
    assert not project.home.exists()
    left = [report_at(path) for path in project.reports.glob("*.json")]
    if playbook != "report":
        assert left == []
    else:
        # Whoever watches reports sees there too that this one failed.
        assert [report["status"] for report in left] == ["failed"]
        assert "prefect_maintenance_retention_dayz" in left[0]["errors"][0]


def test_a_misspelled_variable_costs_no_row_and_the_right_one_deletes(
    shared_server: PrefectServer, tmp_path: Path
) -> None:
    engine = engine_for(shared_server.db_url)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log (id, name, level, message, timestamp) SELECT gen_random_uuid(), "
                "'l', 20, 'm', now() - n * interval '10 days' FROM generate_series(1, 9) n"
            )
        )
    project = Project(
        tmp_path,
        prefect_maintenance_api_url=shared_server.api_url,
        prefect_maintenance_db_url=shared_server.db_url,
    )
    keep = "prefect_maintenance_retention_days={}".format
    assert project.play("maintain", "-e", keep(1), "-e", "prefect_maintenance_lock_timout=9"
                        ).returncode != 0  # fmt: skip
    with engine.connect() as connection:
        assert connection.execute(sa.text(OLD)).scalar_one() == 8
    done = project.play("maintain", "-e", keep(75))
    assert done.returncode == 0, done.stdout
    with engine.connect() as connection:
        assert connection.execute(sa.text(OLD)).scalar_one() == 6


def test_values_that_cannot_be_are_told_in_a_line_and_not_by_the_whole_specification(
    project: Project,
) -> None:
    values = {"vacuum": "maybe", "purge_strategy": 0, "retention": "logs: 3"}
    extra = json.dumps({f"prefect_maintenance_{name}": value for name, value in values.items()})
    done = project.play("report", "-e", extra)
    for name in (
        "vacuum must be one of auto, ",
        "purge_strategy must be one of auto, ",
        "retention must map entities to days, ",
    ):
        said_once(done, f"prefect_maintenance_{name}")
    assert not project.home.exists()


def test_a_role_that_is_given_a_misspelled_variable_in_a_play_refuses_it(project: Project) -> None:
    role = {"role": "prefect_maintenance", "prefect_maintenance_retention_dayz": 3}
    play = [{"hosts": "all", "gather_facts": False, "roles": [role]}]
    (project.folder / "playbooks" / "site.yml").write_text(yaml.safe_dump(play))
    said_once(project.play("site"), "did you mean prefect_maintenance_retention_days?")


def test_a_server_with_a_misspelled_variable_of_its_own_fails_by_itself(project: Project) -> None:
    project.hosts = {"first": {}, "second": {"prefect_maintenance_retention_dayz": 3}}
    assert project.play("maintain").returncode != 0
    summary = json.loads((project.reports / "fleet.json").read_text())
    first, second = (host["failure"] for host in summary["hosts"])
    assert "cannot connect to the database" in first
    assert "did you mean prefect_maintenance_retention_days?" in second


def test_a_stop_is_taken_back_by_a_real_false_as_well_as_by_the_word(project: Project) -> None:
    stop = project.home / "stop"
    for back in ('{"prefect_maintenance_stop": false}', "prefect_maintenance_stop=no"):
        assert project.play("stop").returncode == 0
        assert stop.exists()
        assert project.play("stop", "-e", back).returncode == 0
        assert not stop.exists()


def test_the_second_run_finds_the_same_inventory_and_no_warning(project: Project) -> None:
    project.hosts = {"first": {}, "second": {}}
    for _ in range(2):
        done = project.play("maintain")
        assert "cannot connect" in done.stdout
        assert "[WARNING]" not in done.stdout + done.stderr
    assert {path.name for path in project.reports.iterdir()} == {
        "first.json", "second.json", "fleet.json", "fleet.retry",
        "first.html", "second.html", "fleet.html", "history",
    }  # fmt: skip
    assert [path.name for path in project.inventory.rglob("*")] == ["hosts.yml"]
    graph = project.run("ansible-inventory", "--graph")
    assert re.findall(r"@\w+", graph.stdout) == ["@all", "@ungrouped", "@prefect_servers"]
    assert graph.stderr == ""


def test_reports_that_an_earlier_version_left_in_the_inventory_are_to_be_moved(
    project: Project,
) -> None:
    former = project.inventory / "reports"
    former.mkdir()
    (former / "here.json").write_text('{"deleted": {"hosts": {}}}')
    said = f"Ansible reads the earlier reports in {former} as a part of the inventory; move them to"
    assert said in project.play("maintain").stdout
    (former / "here.json").rename(project.reports / "here.json")
    assert "earlier reports" not in project.play("maintain").stdout
