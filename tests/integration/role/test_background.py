"""A module that goes on in the background: what lies there meanwhile, and the result at the end."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from maintenance import clear, engine_for, wait_until
from tools import BIN

from lab import environments
from lab.environments import ROOT
from lab.postgres import PASSWORD, Postgres
from lab.server import PrefectServer

OLD_LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, 'm', now() - interval '90 days' FROM generate_series(1, 50)
"""
HELD = """
SELECT pid FROM pg_stat_activity WHERE datname = 'shared' AND wait_event_type = 'Lock'
AND application_name LIKE 'prefect-maintenance%'
"""
# However busy the machine is, what is waited for comes before that.
SECONDS = 400
KEY = "the-key-of-the-api"


@pytest.fixture
def engine(shared_server: PrefectServer) -> Iterator[sa.Engine]:
    engine = engine_for(shared_server.db_url)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(OLD_LOGS))
    yield engine
    clear(engine)
    engine.dispose()


def play(server: PrefectServer, folder: Path, **task: Any) -> subprocess.Popen[str]:
    """Start a play of one task, which writes the result into a file of the folder."""
    options = {
        "db_url": server.db_url, "api_url": server.api_url, "api_key": KEY,
        "purge_strategy": "delete", "lock_timeout": 3600,
    }  # fmt: skip
    tasks = [
        {"name": "Purge", "prefect_db_purge": options, "register": "purged", **task},
        {"name": "Keep", "ansible.builtin.copy": {
            "content": "{{ purged | to_json }}", "dest": str(folder / "result")}},
    ]  # fmt: skip
    book = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks, "vars": {
        "ansible_python_interpreter": str(environments.prefect()),
        "ansible_remote_tmp": str(folder / "temporary")}}]  # fmt: skip
    (folder / "play.yml").write_text(yaml.safe_dump(book))
    role = ROOT / "roles" / "prefect_maintenance"
    return subprocess.Popen(
        [BIN / "ansible-playbook", folder / "play.yml", "-i", "localhost,", "-c", "local",
         "-vvvv"],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={
            **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_ACTION_PLUGINS": str(role / "action_plugins"),
            "ANSIBLE_LIBRARY": str(role / "library"),
            "ANSIBLE_MODULE_UTILS": str(role / "module_utils"),
        },
    )  # fmt: skip


def test_nobody_else_can_open_the_folder_of_a_step_and_no_file_in_it_has_a_secret(
    shared_server: PrefectServer, engine: sa.Engine, cluster: Postgres, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    with engine.connect() as holder:
        holder.execute(sa.text("SELECT id FROM log FOR UPDATE"))
        run = play(shared_server, tmp_path)
        wait_until(lambda: cluster.execute(HELD) or run.poll() is not None, SECONDS)
        wait_until(lambda: [*temporary.glob("*/progress")] or run.poll() is not None, SECONDS)
        assert run.poll() is None, run.communicate()[0]
        (folder,) = {path.parent for path in temporary.glob("*/alive")}
        assert folder.stat().st_mode & 0o777 == 0o700
        for path in folder.iterdir():
            assert PASSWORD not in path.read_text()
            assert KEY not in path.read_text()
        holder.rollback()
    shown = run.communicate(timeout=SECONDS)[0]
    assert run.returncode == 0, shown
    assert PASSWORD not in shown
    assert KEY not in shown
    assert not folder.exists()
    told = json.loads((tmp_path / "result").read_text())
    assert told["report"]["deleted"]["log"] == 50
    assert (told["changed"], told["failed"]) == (True, False)
    assert not {"ansible_job_id", "started", "finished", "results_file", "rc"} & set(told)
    assert "module_args" in shown
    assert "gone_after" not in shown


def test_a_step_in_the_background_can_be_checked(
    shared_server: PrefectServer, engine: sa.Engine, tmp_path: Path
) -> None:
    run = play(shared_server, tmp_path, check_mode=True)
    shown = run.communicate(timeout=SECONDS)[0]
    assert run.returncode == 0, shown
    told = json.loads((tmp_path / "result").read_text())
    assert (told["changed"], told["report"]["check_mode"]) == (True, True)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM log")).scalar_one() == 50
