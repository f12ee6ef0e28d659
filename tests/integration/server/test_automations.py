"""Automations that watch a deployment are read, compared, written, and really tell people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from listener import listening, make_block, triggered
from maintenance import wait_until
from prefect_maintenance.errors import Conflict, SettingsError
from prefect_maintenance.request.settings import Api
from prefect_maintenance.schedule import CHANGES
from prefect_maintenance.server.api import PrefectApi, open_api
from prefect_maintenance.server.automations import longest_gap
from prefect_maintenance.server.change import Change

from lab.server import PrefectServer

POOL, NAME = "pool-of-watched", "watched"
FAILED, MISSING = f"{NAME}: a run failed", f"{NAME}: no run completed in time"
MONTHLY: dict[str, Any] = {"cron": "0 3 1 * *", "timezone": "Asia/Bangkok"}
DAY = 86400.0
COMPLETED = "prefect.flow-run.Completed"


@pytest.fixture
def api(shared_server: PrefectServer) -> Iterator[PrefectApi]:
    """The API of a server that has the deployment and nothing that watches it."""
    request = {"api_url": shared_server.api_url, "name": POOL}
    CHANGES["work_pool"](request, check=False)
    deployed = {**request, "name": NAME, "work_pool": POOL, "path": "/srv/flow"}
    CHANGES["deployment"](deployed, check=False)
    with open_api(Api(shared_server.api_url)) as opened:
        yield opened
    change(shared_server, state="absent")
    CHANGES["deployment"]({**deployed, "state": "absent"}, check=False)
    CHANGES["work_pool"]({**request, "state": "absent"}, check=False)


def change(server: PrefectServer, *, check: bool = False, **more: Any) -> Change:
    request = {"api_url": server.api_url, "deployment": NAME, **more}
    return CHANGES["automation"](request, check=check)


def automations(api: PrefectApi) -> dict[str, Any]:
    asked = {"automations": {"name": {"any_": [FAILED, MISSING]}}}
    return {one["name"]: one for one in api.ask("POST", "/automations/filter", json=asked)}


def run_that_ends(api: PrefectApi, state: str, message: str) -> None:
    """Let a run of the deployment end in a state, as its own process would say it."""
    deployment = api.find(f"/deployments/name/prefect-maintenance/{NAME}")["id"]
    run = api.ask("POST", f"/deployments/{deployment}/create_flow_run", json={})["id"]
    body = {"state": {"type": state, "message": message}, "force": True}
    api.ask("POST", f"/flow_runs/{run}/set_state", json=body)


def test_the_second_time_nothing_is_touched(shared_server: PrefectServer, api: PrefectApi) -> None:
    made = change(shared_server, **MONTHLY)
    assert (made.before, set(made.after)) == ({}, {FAILED, MISSING})
    there = automations(api)
    assert made.answers == {"automations": {name: one["id"] for name, one in there.items()}}
    again = change(shared_server, **MONTHLY)
    assert (again.changed, again.after, again.answers) == (False, {}, made.answers)
    assert automations(api) == there


def test_a_check_says_what_would_be_done_and_does_nothing(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    foretold = change(shared_server, check=True, **MONTHLY)
    assert automations(api) == {}
    assert change(shared_server, **MONTHLY).after == foretold.after
    before = automations(api)
    assert set(change(shared_server, check=True, state="absent").before) == {FAILED, MISSING}
    assert set(change(shared_server, check=True, within=77, **MONTHLY).after) == {MISSING}
    assert automations(api) == before
    # Its deployment would be made by the step before.
    unknown = {"api_url": shared_server.api_url, "deployment": "never-made"}
    assert CHANGES["automation"](unknown, check=True).changed
    with pytest.raises(Conflict, match="there is no deployment never-made"):
        CHANGES["automation"](unknown, check=False)


def test_what_was_changed_by_hand_is_taken_back_and_another_cron_changes_its_own_alone(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    change(shared_server, **MONTHLY)
    made = automations(api)
    api.ask("PATCH", f"/automations/{made[FAILED]['id']}", json={"enabled": False})
    assert set(change(shared_server, **MONTHLY).after) == {FAILED}
    assert automations(api)[FAILED]["enabled"]
    assert set(change(shared_server, cron="0 3 * * *").after) == {MISSING}
    daily = automations(api)[MISSING]
    assert (daily["id"], daily["trigger"]["within"]) == (made[MISSING]["id"], 2 * DAY)
    # So its time begins anew with each run that completes.
    assert daily["trigger"]["after"] == daily["trigger"]["expect"] == [COMPLETED]
    # Without a schedule nobody expects a run.
    assert set(change(shared_server).before) == {MISSING}
    assert set(automations(api)) == {FAILED}


def test_absent_takes_them_away_once(shared_server: PrefectServer, api: PrefectApi) -> None:
    change(shared_server, **MONTHLY)
    assert change(shared_server, state="absent").changed
    assert automations(api) == {}
    assert not change(shared_server, state="absent").changed


def test_a_run_that_fails_and_one_that_stays_away_are_told_to_the_block(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    with listening() as (url, told):
        data = {"name": "ops", "url": url, "json_data": {"t": "{{subject}}", "b": "{{body}}"}}
        block = make_block(api, "ops-of-watched", "custom-webhook", data)
        made = change(shared_server, block=block, within=10)
        assert not change(shared_server, block=block, within=10).changed
        run_that_ends(api, "FAILED", "no space left")
        [first] = wait_until(lambda: [one for one in told if FAILED in one["t"]])
        assert first["b"].endswith(": no space left")
        [second] = wait_until(lambda: [one for one in told if MISSING in one["t"]])
        assert f"No run of {NAME} has completed in 0:00:10" in second["b"]
        ids = made.answers["automations"].values()
        wait_until(lambda: all(triggered(api, automation) for automation in ids))


@pytest.mark.parametrize("block", ["ops", "custom-webhook/nobody", "nonsense/ops", "/", "a/b/c"])
def test_a_block_that_is_not_there_is_refused_and_nothing_is_made(
    shared_server: PrefectServer, api: PrefectApi, block: str
) -> None:
    for check in (True, False):
        with pytest.raises(SettingsError, match=r"^there is no block [^\n]+$"):
            change(shared_server, check=check, block=block)
    assert automations(api) == {}


def test_a_block_that_cannot_notify_is_refused(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    block = make_block(api, "secret-of-watched", "secret", {"value": "s"})
    with pytest.raises(SettingsError, match="cannot notify"):
        change(shared_server, block=block)
    assert automations(api) == {}


@pytest.mark.parametrize(
    ("cron", "days"),
    [
        ("0 3 1 * *", 31),
        ("0 3 * * *", 1),
        ("0 9 * * 1-5", 3),
        ("*/30 9-17 * * 1-5", 2 + 15.5 / 24),
        ("0 3 1 1 *", 366),
        ("* * * * *", 1 / 1440),
    ],
)
def test_a_period_is_the_longest_that_a_schedule_ever_waits(cron: str, days: float) -> None:
    assert longest_gap(cron, "Asia/Bangkok") == pytest.approx(days * DAY)


def test_a_schedule_that_comes_once_has_no_period() -> None:
    with pytest.raises(SettingsError, match="less than twice in four years"):
        longest_gap("0 3 29 2 *", "UTC")
    with pytest.raises(SettingsError, match="is not valid"):
        longest_gap("0 3", "UTC")
