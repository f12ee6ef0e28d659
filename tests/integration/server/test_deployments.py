"""Work pools and deployments are read, compared, and written only where they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prefect_maintenance.errors import ApiError, ConnectionFailed, MaintenanceError, SettingsError
from prefect_maintenance.request.settings import Api
from prefect_maintenance.schedule import CHANGES
from prefect_maintenance.server import deployments, pool_workers
from prefect_maintenance.server.api import PrefectApi, open_api
from prefect_maintenance.server.change import Change
from workers import heartbeat, heartbeats

from lab.postgres import free_port
from lab.server import PrefectServer

POOL, NAME = "pool-of-tests", "deployment-of-tests"
MONTHLY: dict[str, Any] = {"cron": "0 3 1 * *", "timezone": "Asia/Bangkok"}


@pytest.fixture
def api(shared_server: PrefectServer) -> Iterator[PrefectApi]:
    """The API of a server that has neither the pool nor the deployment."""
    with open_api(Api(shared_server.api_url)) as opened:
        _clean(shared_server)
        yield opened
        _clean(shared_server)


def _clean(server: PrefectServer) -> None:
    change(server, "deployment", state="absent")
    with open_api(Api(server.api_url)) as api:
        if api.find(f"/work_pools/{POOL}"):
            api.ask("DELETE", f"/work_pools/{POOL}")


def change(server: PrefectServer, what: str, *, check: bool = False, **more: Any) -> Change:
    own = {"work_pool": {"name": POOL}, "deployment": {"name": NAME, "work_pool": POOL}}[what]
    place = {"path": "/srv/flow"} if what == "deployment" else {}
    return CHANGES[what]({"api_url": server.api_url, **own, **place, **more}, check=check)


def deployed(api: PrefectApi) -> Any:
    return api.find(f"/deployments/name/prefect-maintenance/{NAME}")


def test_the_second_time_nothing_is_touched(shared_server: PrefectServer, api: PrefectApi) -> None:
    wish = {
        **MONTHLY,
        "parameters": {"retention_days": 30, "retention": {"logs": 7}},
        "environment": {"A": "b"},
        "tags": ["maintenance"],
        "description": "keeps it lean",
    }
    assert change(shared_server, "work_pool", description="of tests", concurrency_limit=3).changed
    assert change(shared_server, "deployment", **wish).changed
    before = deployed(api), api.find(f"/work_pools/{POOL}")
    again = change(shared_server, "work_pool", description="of tests", concurrency_limit=3)
    assert (again.changed, again.after) == (False, {})
    again = change(shared_server, "deployment", **wish)
    assert (again.changed, again.after) == (False, {})
    after = deployed(api), api.find(f"/work_pools/{POOL}")
    for now, then in zip(after, before, strict=True):
        # Who polls or schedules may set these; nothing of ours does.
        free = {"status", "last_polled", "work_queue_id"}
        assert {k: v for k, v in now.items() if k not in free} == {
            k: v for k, v in then.items() if k not in free
        }


def test_the_next_three_runs_are_there_at_the_hour_of_the_time_zone(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    change(shared_server, "work_pool")
    done = change(shared_server, "deployment", **MONTHLY)
    times = [
        datetime.fromisoformat(run.replace("Z", "+00:00")).astimezone(ZoneInfo("Asia/Bangkok"))
        for run in done.answers["next_runs"]
    ]
    assert [(at.day, at.hour, at.minute) for at in times] == [(1, 3, 0)] * 3
    assert len({at.month for at in times}) == 3
    assert [at.isoformat() for at in times] == done.answers["next_runs_local"]


def test_a_pool_that_no_worker_polls_is_named_until_one_does(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    change(shared_server, "work_pool")
    warning = f"no worker polls work pool {POOL}"
    # In a check, nobody knows of a worker that the same run would start.
    assert change(shared_server, "deployment", check=True).warnings == ()
    for _ in range(2):
        assert warning in change(shared_server, "deployment").warnings[0]
    heartbeat(shared_server, POOL, "awake")
    assert change(shared_server, "deployment").warnings == ()


def test_another_cron_changes_the_schedule_only(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    change(shared_server, "work_pool")
    change(shared_server, "deployment", **MONTHLY)
    before = deployed(api)
    done = change(shared_server, "deployment", cron="30 4 2 * *", timezone="Asia/Bangkok")
    assert set(done.after) == {"schedule"}
    after = deployed(api)
    assert (after["id"], len(after["schedules"])) == (before["id"], 1)
    assert after["schedules"][0]["id"] == before["schedules"][0]["id"]
    assert after["schedules"][0]["schedule"]["cron"] == "30 4 2 * *"
    assert done.answers["next_runs"]
    # Without a cron the schedule goes; with one again it comes back.
    assert change(shared_server, "deployment").changed
    assert deployed(api)["schedules"] == []
    assert change(shared_server, "deployment", **MONTHLY).changed
    assert not change(shared_server, "deployment", **MONTHLY).changed


def test_a_check_says_what_differs_and_writes_nothing(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    assert change(shared_server, "work_pool", check=True).changed
    assert change(shared_server, "deployment", check=True, **MONTHLY).changed
    assert (api.find(f"/work_pools/{POOL}"), deployed(api)) == (None, None)
    change(shared_server, "work_pool")
    change(shared_server, "deployment", **MONTHLY)
    foretold = change(shared_server, "deployment", check=True, **MONTHLY, tags=["new"])
    assert (foretold.before, foretold.after) == ({"tags": []}, {"tags": ["new"]})
    assert deployed(api)["tags"] == []


def test_only_one_run_is_at_work_and_the_form_knows_the_parameters(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    change(shared_server, "work_pool")
    change(shared_server, "deployment")
    found = deployed(api)
    assert found["global_concurrency_limit"]["limit"] == 1
    assert found["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    form = found["parameter_openapi_schema"]["properties"]
    assert {"retention_days", "states", "vacuum", "dry_run"} <= set(form)
    assert form["retention_days"]["minimum"] == 1
    assert {name for name, field in form.items() if not field.get("description")} == set()


def test_a_pool_that_deployments_use_stays_and_is_removed_without_them(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    change(shared_server, "work_pool")
    change(shared_server, "deployment")
    kept = change(shared_server, "work_pool", state="absent")
    assert (kept.changed, NAME in kept.warnings[0]) == (False, True)
    assert change(shared_server, "deployment", state="absent").changed
    assert not change(shared_server, "deployment", state="absent").changed
    assert change(shared_server, "work_pool", state="absent").changed
    assert not change(shared_server, "work_pool", state="absent").changed


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"cron": "0 3 1 *"}, "cron '0 3 1 *' is not valid"),
        ({"cron": "0 3 1 * *", "timezone": "Asia/Nowhere"}, "time zone 'Asia/Nowhere' is unknown"),
        ({"path": ""}, "path is missing"),
    ],
)
def test_what_no_server_can_have_is_refused_in_one_line(
    shared_server: PrefectServer, api: PrefectApi, wish: dict[str, Any], told: str
) -> None:
    change(shared_server, "work_pool")
    with pytest.raises(SettingsError, match=r"^[^\n]+$") as refused:
        change(shared_server, "deployment", **wish)
    assert told in str(refused.value)
    assert deployed(api) is None


def test_a_pool_that_is_paused_missing_or_of_another_type_is_named(
    shared_server: PrefectServer, api: PrefectApi
) -> None:
    with pytest.raises(MaintenanceError, match=f"there is no work pool {POOL}"):
        change(shared_server, "deployment")
    change(shared_server, "work_pool")
    api.ask("PATCH", f"/work_pools/{POOL}", json={"is_paused": True})
    with pytest.raises(MaintenanceError, match=r"is paused.*prefect work-pool resume"):
        change(shared_server, "deployment")
    with pytest.raises(MaintenanceError, match="is of type process, not docker"):
        change(shared_server, "work_pool", type="docker")
    api.ask("DELETE", f"/work_pools/{POOL}")
    with pytest.raises(SettingsError, match="knows no work pools of type nonsense"):
        change(shared_server, "work_pool", type="nonsense")


def test_a_worker_is_waited_for_until_the_server_hears_of_it(
    shared_server: PrefectServer, api: PrefectApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_workers, "_WORKER_TIMEOUT", 3)
    with pytest.raises(ApiError, match=f"nothing was heard of worker w of work pool {POOL}"):
        change(shared_server, "work_pool", worker="w")
    heartbeat(shared_server, POOL, "another")
    with pytest.raises(ApiError, match="nothing was heard of worker w"):
        change(shared_server, "work_pool", worker="w")
    heartbeat(shared_server, POOL, "w")
    assert not change(shared_server, "work_pool", worker="w").changed
    with pytest.raises(ApiError, match="nothing was heard of worker w"):
        change(shared_server, "work_pool", worker="w", worker_is_new=True)
    with heartbeats(shared_server, POOL, "w"):
        assert not change(shared_server, "work_pool", worker="w", worker_is_new=True).changed


def test_a_check_does_not_wait_for_a_worker(shared_server: PrefectServer, api: PrefectApi) -> None:
    assert change(shared_server, "work_pool", worker="w", check=True).changed
    assert api.find(f"/work_pools/{POOL}") is None


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(ConnectionFailed, match=str(port)):
        CHANGES["work_pool"]({"api_url": f"http://127.0.0.1:{port}/api", "name": POOL}, check=False)


def test_a_server_whose_scheduler_is_dead_is_found_out(
    sqlite_database: str,
    start_server: Callable[..., PrefectServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = start_server(
        sqlite_database,
        environment={
            "PREFECT_API_SERVICES_SCHEDULER_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
        },
    )
    monkeypatch.setattr(deployments, "_SCHEDULER_TIMEOUT", 5)
    change(server, "work_pool")
    with pytest.raises(ApiError, match="its scheduler does not work"):
        change(server, "deployment", **MONTHLY)
