"""Deployments as they should be: read, compare, write only what differs.

Prefect's own ways of deploying replace the schedule and touch the deployment every time; the
plain routes used here do not, and are the same from Prefect 3.4 on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from prefect.client.schemas.schedules import CronSchedule

from ..errors import ApiError, Conflict, SettingsError
from .api import PrefectApi
from .change import Change
from .pool_workers import without_worker
from .work_pools import route_of

# The scheduler makes at least so many runs ahead (Prefect: scheduler.min_runs).
_SCHEDULED = 3
# Seconds: twice the longest sleep of the scheduler (Prefect: scheduler.loop_seconds is 60).
_SCHEDULER_TIMEOUT = 130


@dataclass(frozen=True)
class Deployment:
    """A deployment of a flow that lies on the worker's machine, with one schedule or none.

    Attributes:
        name: of the deployment.
        flow: the flow's name.
        entrypoint: file and function, relative to `path`.
        path: folder on the worker's machine.
        work_pool: whose workers run it.
        parameters: of the flow.
        schema: of the parameters, for the form in the UI; None leaves it as it is.
        environment: variables of the run; anybody who reaches the API can read them.
        cron: when; None for no schedule.
        timezone: of the cron.
        description: for people.
        tags: for people.
    """

    name: str
    flow: str
    entrypoint: str
    path: str
    work_pool: str
    parameters: Mapping[str, Any]
    schema: Mapping[str, Any] | None
    environment: Mapping[str, str]
    cron: str | None
    timezone: str
    description: str | None
    tags: tuple[str, ...]

    @property
    def route(self) -> str:
        """Where the API has it by name."""
        return f"/deployments/name/{quote(self.flow, safe='')}/{quote(self.name, safe='')}"

    def body(self) -> dict[str, Any]:
        """Return what the server should hold, without the schedule."""
        told: dict[str, Any] = {
            "entrypoint": self.entrypoint,
            "path": self.path,
            "work_pool_name": self.work_pool,
            "parameters": dict(self.parameters),
            "job_variables": {"env": dict(self.environment)},
            "pull_steps": [
                {"prefect.deployments.steps.set_working_directory": {"directory": self.path}}
            ],
            "concurrency_limit": 1,
            "concurrency_options": {"collision_strategy": "CANCEL_NEW"},
            "enforce_parameter_schema": True,
            "tags": list(self.tags),
            "description": self.description,
        }
        if self.schema is not None:
            told["parameter_openapi_schema"] = dict(self.schema)
        return told


def ensure_deployment(
    api: PrefectApi, desired: Deployment, *, present: bool, check: bool, wait: bool = True
) -> Change:
    """Create or update a deployment and its schedule, or remove it.

    Args:
        api: of the server.
        desired: the deployment.
        present: whether it should be there.
        check: write nothing.
        wait: until the server has scheduled the next runs.

    Raises:
        SettingsError: cron or time zone is not valid.
        Conflict: its work pool is missing or paused.
        ApiError: the server's scheduler makes no runs.
    """
    there = api.find(desired.route)
    if not present:
        if there is not None and not check:
            api.ask("DELETE", f"/deployments/{there['id']}")
        return Change({"name": desired.name} if there else {}, {})
    schedule = _schedule(desired)
    pool = _usable_pool(api, desired.work_pool, check=check)
    body, old = desired.body(), _only_schedule(there)
    before, after = _only_differing(_deployed(there, body), body)
    if old != schedule:
        before, after = {**before, "schedule": old}, {**after, "schedule": schedule}
    if check:
        return Change(before, after, {"deployment_id": there["id"] if there else None})
    if there is None:
        there = _make(api, desired, schedule)
    else:
        differing = {name: body[name] for name in after if name != "schedule"}
        if differing:
            api.ask("PATCH", f"/deployments/{there['id']}", json=differing)
        if old != schedule:
            _reschedule(api, there, schedule)
    answers: dict[str, Any] = {"deployment_id": there["id"], "next_runs": []}
    if schedule and wait and not there.get("paused"):
        answers["next_runs"] = _next_runs(api, str(there["id"]))
    answers["next_runs_local"] = [_local(at, desired.timezone) for at in answers["next_runs"]]
    unpolled = without_worker(api, pool) if pool else ""
    return Change(before, after, answers, (unpolled,) if unpolled else ())


def _usable_pool(api: PrefectApi, name: str, *, check: bool) -> Mapping[str, Any] | None:
    """Return the work pool of a deployment; None for one that the steps before a check would make.

    Raises:
        Conflict: it is missing or paused.
    """
    pool: Mapping[str, Any] | None = api.find(route_of(name))
    if pool is None and not check:
        raise Conflict(f"there is no work pool {name}; make it first")
    if pool is not None and pool["is_paused"]:
        raise Conflict(
            f"work pool {name} is paused, so no run would begin; resume it with: "
            f"prefect work-pool resume {name}"
        )
    return pool


def _make(
    api: PrefectApi, desired: Deployment, schedule: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    flow = api.ask("POST", "/flows/", json={"name": desired.flow})
    schedules = [{"schedule": schedule, "active": True}] if schedule else []
    made = {"name": desired.name, "flow_id": flow["id"], "schedules": schedules}
    there: Mapping[str, Any] = api.ask("POST", "/deployments/", json={**made, **desired.body()})
    return there


def _schedule(desired: Deployment) -> dict[str, Any] | None:
    """Return the schedule as the server holds it.

    Raises:
        SettingsError: cron or time zone is not valid.
    """
    if desired.cron is None:
        return None
    try:
        ZoneInfo(desired.timezone)
    except (KeyError, ValueError, OSError):
        raise SettingsError(
            f"time zone {desired.timezone!r} is unknown; write one as in Asia/Bangkok"
        ) from None
    try:
        CronSchedule(cron=desired.cron, timezone=desired.timezone)
    except ValueError:
        raise SettingsError(
            f"cron {desired.cron!r} is not valid; write five fields as in 0 3 1 * *"
        ) from None
    return {"cron": desired.cron, "timezone": desired.timezone, "day_or": True}


def _deployed(there: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties in question as the server holds them."""
    if there is None:
        return {}
    held = {name: there.get(name) for name in wanted}
    # The limit itself is read back elsewhere, and its options have grown (Prefect 3.6).
    limit = there.get("global_concurrency_limit") or {}
    held["concurrency_limit"] = limit.get("limit")
    options = there.get("concurrency_options") or {}
    held["concurrency_options"] = {
        name: options.get(name) for name in wanted["concurrency_options"]
    }
    held["tags"] = list(held["tags"] or ())
    return held


def _only_differing(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [name for name in after if name not in before or before[name] != after[name]]
    return {name: before[name] for name in names if name in before}, {n: after[n] for n in names}


def _only_schedule(there: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the one active cron that is there; None for none, or for anything else."""
    schedules = there["schedules"] if there else []
    if len(schedules) != 1 or not schedules[0]["active"]:
        return None if not schedules else {"several or inactive": len(schedules)}
    held = schedules[0]["schedule"]
    return {name: held.get(name) for name in ("cron", "timezone", "day_or")}


def _reschedule(
    api: PrefectApi, there: Mapping[str, Any], schedule: Mapping[str, Any] | None
) -> None:
    route = f"/deployments/{there['id']}/schedules"
    kept, *others = [*there["schedules"], None] if schedule else [None, *there["schedules"]]
    for other in filter(None, others):
        api.ask("DELETE", f"{route}/{other['id']}")
    if schedule is None:
        return
    if kept is None:
        api.ask("POST", route, json=[{"schedule": schedule, "active": True}])
    else:
        api.ask("PATCH", f"{route}/{kept['id']}", json={"schedule": schedule, "active": True})


def _local(instant: str, timezone: str) -> str:
    """Return an instant of the API as the time of day in a time zone, with its offset."""
    at = datetime.fromisoformat(instant.replace("Z", "+00:00"))
    return at.astimezone(ZoneInfo(timezone)).isoformat(timespec="seconds")


def _next_runs(api: PrefectApi, deployment: str) -> list[str]:
    """Wait until the scheduler has made the next runs; returns their times.

    Raises:
        ApiError: it has not in the time allowed.
    """
    asked = {
        "deployments": {"id": {"any_": [deployment]}},
        "flow_runs": {
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"after_": datetime.now(UTC).isoformat()},
        },
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": _SCHEDULED,
    }
    until = time.monotonic() + _SCHEDULER_TIMEOUT
    while time.monotonic() < until:
        found = api.ask("POST", "/flow_runs/filter", json=asked)
        if len(found) >= _SCHEDULED:
            return [str(run["expected_start_time"]) for run in found]
        time.sleep(1.0)
    raise ApiError(
        f"the server took the schedule and made no runs of it in {_SCHEDULER_TIMEOUT} s: its "
        "scheduler does not work; see the server's log"
    )
