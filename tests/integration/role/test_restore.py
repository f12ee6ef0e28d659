"""The play that restores: a check tells exactly what comes back, and it comes back once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from archiving import archived, lacking
from maintenance import engine_for, fill
from world import dump

from lab import environments
from lab.environments import ROOT


def played(variables: dict[str, str], *options: str) -> str:
    """Play the restore on this machine; returns what it printed."""
    given = {
        **variables,
        "ansible_connection": "local",
        "ansible_python_interpreter": str(environments.prefect()),
        "prefect_maintenance_python": str(environments.prefect()),
    }
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook", ROOT / "playbooks" / "restore.yml",
            "-i", "here,", "-e", json.dumps(given), *options,
        ],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_play_brings_back_what_its_check_told(sqlite_database: str, tmp_path: Path) -> None:
    engine: sa.Engine = engine_for(sqlite_database)
    fill(engine, seed=11)
    before = dump(engine)
    report = archived(engine, tmp_path, report={"host": "here"})
    assert Path(report["archive"]["folder"]).parent == tmp_path / "here"
    variables = {
        "prefect_maintenance_db_url": sqlite_database,
        "prefect_maintenance_archive_dir": str(tmp_path),
        "prefect_maintenance_home": str(tmp_path / "home"),
    }
    checked = played(variables, "--check")
    told = re.findall(r"(\w+): ([\d,]+) rows would come back", checked)
    assert ("log", str(report["deleted"]["log"])) in told
    assert lacking(before, engine) != {}
    done = played(variables)
    assert re.findall(r"(\w+): ([\d,]+) rows came back", done) == told
    changed = [re.findall(r"changed=(\d+)", shown) for shown in (checked, done)]
    assert changed == [["1"], ["1"]]
    assert lacking(before, engine) == {}
    engine.dispose()
