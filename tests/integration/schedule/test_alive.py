"""A run that is between two of its steps is never taken for dead by another worker's start."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prefect_maintenance.database.alive import has_process, sign_of_life
from prefect_maintenance.errors import Busy
from prefect_maintenance.request.settings import Api
from prefect_maintenance.schedule import OWN_FLOW, end_lost_runs
from prefect_maintenance.server.api import PrefectApi, open_api

from lab.server import PrefectServer


@pytest.fixture(params=["shared_server", "shared_sqlite_server"])
def server(request: pytest.FixtureRequest) -> PrefectServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, PrefectServer)
    return found


@pytest.fixture
def api(server: PrefectServer) -> Iterator[PrefectApi]:
    with open_api(Api(server.api_url)) as opened:
        yield opened


@pytest.fixture
def deployment(api: PrefectApi) -> Iterator[tuple[str, str]]:
    """The name of a deployment, and the id of its run, which is Running."""
    name = f"nightly-{uuid.uuid4().hex[:8]}"
    flow = api.ask("POST", "/flows/", json={"name": OWN_FLOW})["id"]
    made = api.ask("POST", "/deployments/", json={"name": name, "flow_id": flow})["id"]
    body = {"state": {"type": "RUNNING", "name": "Running"}}
    run = api.ask("POST", f"/deployments/{made}/create_flow_run", json=body)["id"]
    api.ask("POST", f"/flow_runs/{run}/set_state", json={**body, "force": True})
    yield name, run
    api.delete("flow_runs", run)
    api.delete("deployments", made)


def state(api: PrefectApi, run: str) -> str:
    return str(api.ask("GET", f"/flow_runs/{run}")["state_type"])


def test_only_a_run_that_gives_no_sign_of_life_is_ended(
    server: PrefectServer, api: PrefectApi, deployment: tuple[str, str]
) -> None:
    name, run = deployment
    held = {"db_url": server.db_url, "api_url": server.api_url}
    with ExitStack() as living:
        if server.db_url.startswith("sqlite"):
            # No lock tells there; the process of the run is on the machine that has the file.
            process = subprocess.Popen(
                [sys.executable, "-c", "input()"],
                stdin=subprocess.PIPE,
                env={**os.environ, "PREFECT__FLOW_RUN_ID": run},
            )
            living.callback(process.wait)
            living.callback(process.kill)
            assert end_lost_runs(held, name) == []
        else:
            living.enter_context(sign_of_life(server.db_url))
            with pytest.raises(Busy, match="between two of its steps"):
                end_lost_runs(held, name)
        assert state(api, run) == "RUNNING"
    assert len(end_lost_runs(held, name)) == 1
    assert state(api, run) == "CRASHED"


def test_a_run_may_give_its_sign_beside_another_and_again(shared_server: PrefectServer) -> None:
    with sign_of_life(shared_server.db_url), sign_of_life(shared_server.db_url):
        pass
    with sign_of_life(shared_server.db_url):
        pass


def test_no_process_carries_out_a_run_that_is_unknown() -> None:
    assert not has_process(str(uuid.uuid4()))
