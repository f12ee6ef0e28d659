"""Who can do what by the scheduled maintenance: its user, its files, its pool, its removal."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect_maintenance.errors import ApiError
from prefect_maintenance.request.settings import Api
from prefect_maintenance.server.api import PrefectApi, open_api
from prefect_maintenance.server.work_pools import WorkPool, ensure_work_pool
from quick_python import quick_python
from sites import Site, recap
from tools import BIN

from lab.environments import ROOT
from lab.server import PrefectServer

NOBODY = 65534
ALLOWED = ("PREFECT_MAINTENANCE_CREDENTIALS", "PREFECT_MAINTENANCE_STOP_FILE")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")

# Prints what it could read of the files of a folder that appear, and ends when its input does.
WATCHER = """
import glob, select, sys
print("watching", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for name in ("credentials.json", "worker.env"):
        try:
            text = open(sys.argv[1] + "/" + name).read()
        except OSError:
            continue
        if text:
            print(name, text, flush=True)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody can enter."""
    made = Path(tempfile.mkdtemp(prefix="prefect-rights-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def site(shared_server: PrefectServer, folder: Path) -> Site:
    site = Site(shared_server, folder)
    site.variables = {"prefect_maintenance_home": str(folder / "home")}
    return site


def lay_down(folder: Path, user: str, *options: str) -> str:
    done = subprocess.run(
        [BIN / "ansible-playbook", Path(__file__).with_name("lay_down_secrets.yml"),
         "-i", "localhost,", "-c", "local", "-e", f"dest={folder}", "-e", f"user={user}",
         "-e", f"ansible_python_interpreter={sys.executable}", *options],
        cwd="/", env={**os.environ, "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@needs_root
def test_another_user_never_reads_a_secret_while_it_is_laid_down(folder: Path) -> None:
    python = next(p for p in ("/usr/bin/python3", sys.executable) if Path(p).exists())
    with subprocess.Popen(
        [python, "-c", WATCHER, folder], cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, user=NOBODY, group=NOBODY, extra_groups=[],
    ) as watcher:  # fmt: skip
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "watching\n"
        for _ in range(3):
            lay_down(folder, "daemon")
            for name in ("credentials.json", "worker.env"):
                laid = folder / name
                assert "s3cret-of-the-file" in laid.read_text()
                assert stat.S_IMODE(laid.stat().st_mode) == 0o600
                assert pwd.getpwuid(laid.stat().st_uid).pw_name == "daemon"
                laid.unlink()
        seen = watcher.communicate("")[0]
    assert seen == ""


def test_nothing_that_is_laid_down_is_shown(folder: Path) -> None:
    shown = lay_down(folder, pwd.getpwuid(os.geteuid()).pw_name, "-vvv", "--diff")
    assert "Lay down the credentials" in shown
    for name in ("credentials.json", "worker.env"):
        assert "s3cret-of-the-file" in (folder / name).read_text()
    assert "s3cret-of-the-file" not in shown


@needs_root
def test_what_a_worker_of_root_left_is_handed_to_the_new_user(folder: Path) -> None:
    lay_down(folder, "root")
    (folder / "worker" / "storage").mkdir()
    (folder / "worker" / "storage" / "kept").write_text("kept")
    (folder / "worker" / "link").symlink_to(folder / "outside")
    (folder / "outside").write_text("root's own")
    assert "changed=0" not in lay_down(folder, "daemon")
    owners = {path.name: path.lstat().st_uid for path in folder.rglob("*")}
    daemon = pwd.getpwnam("daemon").pw_uid
    assert owners == {
        "credentials.json": daemon, "worker.env": daemon, "worker": daemon, "storage": daemon,
        "kept": daemon, "link": daemon, "outside": 0,
    }  # fmt: skip
    assert "changed=0" in lay_down(folder, "daemon")


@needs_root
def test_a_worker_has_a_user_of_its_own_and_root_only_by_name(site: Site) -> None:
    site.variables |= {
        "prefect_maintenance_worker": True,
        "__prefect_maintenance_booted": "/",
        "__prefect_maintenance_units": str(site.folder),
    }
    home = site.folder / "home"
    home.mkdir(mode=0o700)
    refused = site.play("schedule", "--check", "--diff")
    assert refused.returncode != 0
    assert f"prefect-maintenance cannot enter or run {home}" in " ".join(refused.stdout.split())
    named = site.play(
        "schedule", "--check", "--diff", "-e", "prefect_maintenance_service_user=root"
    )
    assert named.returncode == 0, named.stdout
    assert "+User=root" in named.stdout


@pytest.mark.parametrize("mode", [0o1777, 0o700])
def test_the_folder_of_the_stop_file_keeps_its_mode(site: Site, mode: int) -> None:
    there = site.folder / "there"
    there.mkdir()
    there.chmod(mode)
    site.variables["prefect_maintenance_stop_file"] = str(there / "stop")
    done = site.play("stop")
    assert done.returncode == 0, done.stdout
    assert (there / "stop").is_file()
    assert stat.S_IMODE(there.stat().st_mode) == mode


@pytest.mark.parametrize("mode", [None, 0o1777, 0o700])
def test_a_home_that_is_there_keeps_its_mode_and_a_new_one_can_be_entered_by_all(
    site: Site, mode: int | None
) -> None:
    home = site.folder / "home"
    if mode is not None:
        home.mkdir()
        home.chmod(mode)
    site.variables |= quick_python(site.folder)
    made = site.play("maintain", "--tags", "prefect_maintenance_install")
    assert made.returncode == 0, made.stdout
    assert (home / "venv" / "requirements.sha256").is_file()
    assert stat.S_IMODE(home.stat().st_mode) == (0o755 if mode is None else mode)
    again = site.play("maintain", "--tags", "prefect_maintenance_install")
    assert recap(again.stdout)["changed"] == 0, again.stdout


@pytest.fixture
def api(shared_server: PrefectServer) -> Iterator[PrefectApi]:
    with open_api(Api(shared_server.api_url)) as opened:
        yield opened


def test_a_run_of_the_pool_cannot_replace_what_is_started(api: PrefectApi) -> None:
    pool = WorkPool("closed-pool", only_environment=ALLOWED)
    assert ensure_work_pool(api, pool, present=True, check=False).changed
    again = ensure_work_pool(api, pool, present=True, check=False)
    assert (again.changed, again.warnings) == (False, ())
    flow = api.ask("POST", "/flows/", json={"name": "closed"})
    body = {"name": "closed", "flow_id": flow["id"], "work_pool_name": "closed-pool"}
    own = {"env": dict.fromkeys(ALLOWED, "/somewhere")}
    made = api.ask("POST", "/deployments/", json={**body, "job_variables": own})
    run = api.ask("POST", f"/deployments/{made['id']}/create_flow_run", json={})
    for replaced in (
        {"command": "id"}, {"working_dir": "/"}, {"env": {"LD_PRELOAD": "/tmp/x.so"}},
        {"env.LD_PRELOAD": "/tmp/x.so"}, {"env": {"PATH": "/tmp"}, "command": "id"},
    ):  # fmt: skip
        asked = {"job_variables": replaced}
        for how, where, more in (
            ("POST", f"/deployments/{made['id']}/create_flow_run", {}),
            ("PATCH", f"/flow_runs/{run['id']}", {}),
            ("POST", "/deployments/", {**body, "name": "another"}),
        ):
            with pytest.raises(ApiError):
                pytest.fail(f"{how} {where} {api.ask(how, where, json={**more, **asked})}")
    template = api.find("/work_pools/closed-pool")["base_job_template"]
    assert "command" not in json.dumps(template)
    assert "working_dir" not in json.dumps(template)
    api.ask("DELETE", "/work_pools/closed-pool")


def test_a_worker_of_the_pool_starts_no_command_of_a_deployment_that_was_changed(
    api: PrefectApi, shared_server: PrefectServer, tmp_path: Path
) -> None:
    (tmp_path / "work.py").write_text(
        "from prefect import flow\n\n@flow\ndef work():\n    open('worked', 'w').close()\n"
    )
    ensure_work_pool(
        api, WorkPool("worked-pool", only_environment=ALLOWED), present=True, check=False
    )
    flow = api.ask("POST", "/flows/", json={"name": "worked"})
    steps = [{"prefect.deployments.steps.set_working_directory": {"directory": str(tmp_path)}}]
    made = api.ask("POST", "/deployments/", json={
        "name": "worked", "flow_id": flow["id"], "work_pool_name": "worked-pool",
        "entrypoint": "work.py:work", "path": str(tmp_path), "pull_steps": steps,
    })  # fmt: skip
    run = api.ask("POST", f"/deployments/{made['id']}/create_flow_run", json={})
    # The server takes a change of a deployment without a look at the pool's template.
    command = f"touch {tmp_path}/replaced"
    api.ask("PATCH", f"/deployments/{made['id']}",
            json={"job_variables": {"command": command, "working_dir": "/"}})  # fmt: skip
    done = subprocess.run(
        [shared_server.python.parent / "prefect", "worker", "start", "--type", "process",
         "--pool", "worked-pool", "--run-once"],
        env=shared_server.environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert api.find(f"/flow_runs/{run['id']}")["state_type"] == "COMPLETED", done.stderr[-2000:]
    assert (tmp_path / "worked").exists()
    assert not (tmp_path / "replaced").exists()
    api.ask("DELETE", "/work_pools/worked-pool")


def test_a_closed_pool_of_an_earlier_version_takes_the_variables_that_are_new(
    api: PrefectApi,
) -> None:
    old = WorkPool("older-pool", only_environment=ALLOWED[:1])
    ensure_work_pool(api, old, present=True, check=False)
    pool = WorkPool("older-pool", only_environment=ALLOWED)
    foretold = ensure_work_pool(api, pool, present=True, check=True)
    done = ensure_work_pool(api, pool, present=True, check=False)
    again = ensure_work_pool(api, pool, present=True, check=False)
    assert (foretold.changed, done.changed, again.changed) == (True, True, False)
    assert ensure_work_pool(api, old, present=True, check=False).changed is False
    flow = api.ask("POST", "/flows/", json={"name": "older"})
    body = {"name": "older", "flow_id": flow["id"], "work_pool_name": "older-pool"}
    own = {"env": dict.fromkeys(ALLOWED, "/somewhere")}
    api.ask("POST", "/deployments/", json={**body, "job_variables": own})
    with pytest.raises(ApiError):
        api.ask("POST", "/deployments/", json={
            **body, "name": "another", "job_variables": {"env": {"LD_PRELOAD": "/tmp/x.so"}},
        })  # fmt: skip
    api.ask("DELETE", "/work_pools/older-pool")


def test_a_pool_that_was_there_is_left_as_it_is_and_named(api: PrefectApi) -> None:
    ensure_work_pool(api, WorkPool("open-pool"), present=True, check=False)
    before = api.find("/work_pools/open-pool")
    pool = WorkPool("open-pool", only_environment=ALLOWED)
    found = ensure_work_pool(api, pool, present=True, check=False)
    assert not found.changed
    assert "lets a run replace its command, working_dir" in found.warnings[0]
    assert api.find("/work_pools/open-pool") == before
    api.ask("DELETE", "/work_pools/open-pool")
