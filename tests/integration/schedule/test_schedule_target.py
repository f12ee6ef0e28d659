"""What schedule.yml needs of a target, what it leaves there, and what `absent` takes away."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_maintenance.request.settings import Api
from prefect_maintenance.schedule import CHANGES
from prefect_maintenance.server.api import PrefectApi, open_api
from sites import Site, recap

from lab.environments import ROOT
from lab.postgres import free_port
from lab.server import PrefectServer

POOL, NAME = "pool-of-the-target", "deployment-of-the-target"
DEPLOYMENT = f"/deployments/name/prefect-maintenance/{NAME}"
ENGINE = ROOT / "roles" / "prefect_maintenance" / "module_utils" / "prefect_maintenance"
UNIT = "prefect-maintenance-worker.service"
WANTED = f"multi-user.target.wants/{UNIT}"
SECRETS = ("credentials.json", "worker.env")


class Target(Site):
    """A site whose target has its units and systemd's mark where a test can make them."""

    def __init__(self, server: PrefectServer, folder: Path) -> None:
        super().__init__(server, folder)
        self.home, self.units = folder / "home", folder / "units"
        self.booted = folder / "booted"
        self.variables = {
            "prefect_maintenance_home": str(self.home),
            "prefect_maintenance_work_pool": POOL,
            "prefect_maintenance_deployment_name": NAME,
            "__prefect_maintenance_units": str(self.units),
            "__prefect_maintenance_booted": str(self.booted),
        }

    def told(self, *options: str, fails: bool = False, changed: int | None = None) -> str:
        """Play the schedule; returns what it said, as one line."""
        done = self.play("schedule", *options)
        said = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, said
        if changed is not None:
            assert recap(done.stdout)["changed"] == changed, said
        return " ".join(said.split())

    def lay_down(self) -> None:
        """Leave what an earlier installation has left."""
        for folder in ("flow", "worker"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        for name in (*SECRETS, "stop"):
            (self.home / name).write_text("s3cret")
        (self.units / WANTED).parent.mkdir(parents=True)
        (self.units / UNIT).write_text("[Unit]\n")
        (self.units / WANTED).symlink_to(self.units / UNIT)

    def left(self) -> set[str]:
        """Return what is left of an installation."""
        files = {path.name for path in self.home.iterdir()} if self.home.exists() else set()
        return files | {path.name for path in self.units.rglob("*.service")}


@pytest.fixture
def api(shared_server: PrefectServer) -> Iterator[PrefectApi]:
    with open_api(Api(shared_server.api_url)) as opened:
        yield opened
        if there := opened.find(DEPLOYMENT):
            opened.ask("DELETE", f"/deployments/{there['id']}")
        if opened.find(f"/work_pools/{POOL}"):
            opened.ask("DELETE", f"/work_pools/{POOL}")


@pytest.fixture
def target(shared_server: PrefectServer, api: PrefectApi, tmp_path: Path) -> Target:
    return Target(shared_server, tmp_path)


def needs(target: Target, what: str) -> dict[str, Any]:
    """Give the target all that a worker needs but one thing."""
    for name, folder in (("systemd", target.booted), ("units", target.units)):
        if name != what:
            folder.mkdir()
    return {
        "prefect_maintenance_worker": True,
        "prefect_maintenance_service_user": "root",
        # Nothing was made as long as there is no environment either.
        "prefect_maintenance_python": "",
        "prefect_maintenance_base_python": sys.executable,
    }


@pytest.mark.parametrize("mode", [(), ("--check",)], ids=("play", "check"))
@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("systemd", "prefect_maintenance_worker needs systemd, which does not run on the target"),
        ("units", "cannot make a unit in {units} on the target"),
    ],
)
def test_a_worker_that_the_target_cannot_run_is_refused_before_anything_is_laid_down(
    target: Target, api: PrefectApi, missing: str, says: str, mode: tuple[str, ...]
) -> None:
    target.variables |= needs(target, missing)
    told = target.told(*mode, fails=True, changed=0)
    assert says.format(units=target.units) in told
    assert f"prefect worker start --pool {POOL}" in told
    assert not target.home.exists()
    assert target.left() == set()
    assert (api.find(f"/work_pools/{POOL}"), api.find(DEPLOYMENT)) == (None, None)


def test_absent_takes_away_what_lies_on_a_target_without_systemd(
    target: Target, api: PrefectApi
) -> None:
    server = {"api_url": target.server.api_url, "work_pool": POOL, "path": "/srv/flow"}
    CHANGES["work_pool"]({**server, "name": POOL}, check=False)
    CHANGES["deployment"]({**server, "name": NAME}, check=False)
    target.lay_down()
    target.variables["prefect_maintenance_schedule_state"] = "absent"
    checked = target.told("--check")
    assert "could not be removed" not in checked
    assert {"flow", *SECRETS, UNIT} <= target.left()
    assert api.find(DEPLOYMENT)
    target.told()
    assert target.left() == {"stop"}
    assert (api.find(f"/work_pools/{POOL}"), api.find(DEPLOYMENT)) == (None, None)
    target.told(changed=0)


@pytest.mark.parametrize(
    "broken",
    [
        {"prefect_maintenance_api_url": "http://127.0.0.1:{port}/api"},
        {"prefect_maintenance_python": "", "prefect_maintenance_base_python": "/nonexistent"},
    ],
    ids=("the server is gone", "no environment can be made"),
)
def test_absent_succeeds_and_warns_of_what_the_server_may_still_hold(
    target: Target, broken: dict[str, str]
) -> None:
    target.lay_down()
    target.variables |= {
        "prefect_maintenance_schedule_state": "absent",
        "prefect_maintenance_service_user": "nobody-of-that-name",
        **{name: text.format(port=free_port()) for name, text in broken.items()},
    }
    warning = f"[WARNING]: deployment {NAME}, its automations and work pool {POOL} could not"
    checked = target.told("--check")
    assert warning in checked
    assert {"flow", *SECRETS, UNIT} <= target.left()
    told = target.told()
    assert warning in told
    assert "run this again when the server answers" in told
    assert target.left() == {"stop"}
    # The second time there is nothing to take away, and the warning still holds.
    assert warning in target.told(changed=0)


def test_the_next_runs_are_shown_in_the_zone_of_the_schedule_and_a_pool_that_nobody_polls_is_named(
    target: Target,
) -> None:
    target.variables |= {
        "prefect_maintenance_schedule_cron": "15 3 1 * *",
        "prefect_maintenance_schedule_timezone": "Asia/Bangkok",
    }
    told = target.told()
    shown = told.split(f"{NAME} runs next at ", 1)[1].split(" (Asia/Bangkok)", 1)[0].split(", ")
    assert len(shown) == 3
    assert {at[-8:] for at in shown} == {"01 03:15"}
    assert f"[WARNING]: no worker polls work pool {POOL}" in told


def modules(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}


def test_an_upgrade_leaves_no_module_of_the_earlier_version(target: Target) -> None:
    target.told()
    laid, flow = target.home / "flow" / "prefect_maintenance", target.home / "flow"
    assert modules(laid) == modules(ENGINE)
    # An earlier version lay in the folder itself, flat.
    shutil.rmtree(laid.resolve())
    laid.unlink()
    laid.mkdir()
    for name in ("__init__.py", "errors.py", "sizes.py"):
        (laid / name).write_text("# flat\n")
    before = modules(flow)
    checked = target.told("--check", "--diff", changed=1)
    assert "-sizes.py 0644 " in checked
    assert "+measure/sizes.py 0644 " in checked
    assert modules(flow) == before
    target.told(changed=1)
    assert modules(laid) == modules(ENGINE)
    target.told("--check", changed=0)
    target.told(changed=0)
