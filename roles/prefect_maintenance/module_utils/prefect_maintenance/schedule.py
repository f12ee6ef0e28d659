"""What the modules for work pools and deployments ask for, checked, and carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .database.alive import has_process, require_none_alive
from .database.connection import connect
from .database.one_runner import only_runner
from .errors import SettingsError
from .request.run_name import RUN_NAME, check_run_name
from .request.settings import Api, parse_api
from .request.values import integer
from .server.automations import Watch, ensure_automations, longest_gap
from .server.change import Change
from .server.deployments import Deployment, ensure_deployment
from .server.pool_workers import wait_for_worker
from .server.work_pools import WorkPool, ensure_work_pool

OWN_FLOW = "prefect-maintenance"
# Seconds for which a lock of the database is waited for.
_LOCK_TIMEOUT = 5.0


def api_of(request: Mapping[str, Any]) -> Api:
    """Say how the API is reached.

    Raises:
        SettingsError: the address is missing or not valid.
    """
    api = parse_api(request)
    if api is None:
        raise SettingsError("api_url is missing; set it to the address of the Prefect API")
    return api


def work_pool(request: Mapping[str, Any], *, check: bool) -> Change:
    """Create or update a work pool, or remove it.

    Raises:
        MaintenanceError: it cannot be as asked.
    """
    # Prefect takes long to import.
    from .server.api import open_api

    names = request.get("only_environment")
    desired = WorkPool(
        name=str(request["name"]),
        type=str(request.get("type") or "process"),
        description=request.get("description"),
        concurrency_limit=request.get("concurrency_limit"),
        only_environment=None if names is None else tuple(str(name) for name in names),
    )
    with open_api(api_of(request)) as api:
        api.version()
        done = ensure_work_pool(api, desired, present=_present(request), check=check)
        worker = request.get("worker")
        if worker and _present(request) and not check:
            wait_for_worker(api, desired.name, str(worker), anew=bool(request.get("worker_is_new")))
    return replace(done, answers={"name": desired.name})


def deployment(request: Mapping[str, Any], *, check: bool) -> Change:
    """Create, update or remove a deployment; of this tool's own flow unless another is named.

    Raises:
        MaintenanceError: it cannot be as asked.
    """
    # Prefect takes long to import.
    from .server.api import open_api

    flow = str(request.get("flow") or OWN_FLOW)
    schema = request.get("schema")
    if _present(request) and schema is None and flow == OWN_FLOW:
        # Prefect takes long to import.
        from .flow import parameter_schema

        schema = parameter_schema()
    desired = Deployment(
        name=str(request["name"]),
        flow=flow,
        entrypoint=str(request.get("entrypoint") or "maintenance.py:maintenance"),
        path=str(request.get("path") or ""),
        work_pool=str(request.get("work_pool") or "process-pool"),
        parameters=dict(request.get("parameters") or {}),
        schema=schema,
        environment={k: str(v) for k, v in (request.get("environment") or {}).items()},
        cron=request.get("cron") or None,
        timezone=str(request.get("timezone") or "UTC"),
        description=request.get("description"),
        tags=tuple(request.get("tags") or ()),
    )
    if _present(request) and not desired.path:
        raise SettingsError("path is missing: the folder of the flow on the worker's machine")
    if _present(request) and flow == OWN_FLOW:
        check_run_name(desired.environment.get(RUN_NAME, ""))
    with open_api(api_of(request)) as api:
        api.version()
        return ensure_deployment(
            api,
            desired,
            present=_present(request),
            check=check,
            wait=request.get("wait") is not False,
        )


def automation(request: Mapping[str, Any], *, check: bool) -> Change:
    """Create, update or remove the automations that tell how the runs of a deployment end.

    Raises:
        MaintenanceError: they cannot be as asked.
    """
    # Prefect takes long to import.
    from .server.api import open_api

    within: float | None = integer(request.get("within") or 0, "within")
    if not within:
        cron, timezone = request.get("cron"), str(request.get("timezone") or "UTC")
        # A run may be late, or fail once, before somebody is told that none completes.
        within = 2 * longest_gap(str(cron), timezone) if cron and _present(request) else None
    desired = Watch(
        deployment=str(request["deployment"]),
        flow=str(request.get("flow") or OWN_FLOW),
        block=request.get("block") or None,
        within=within,
    )
    with open_api(api_of(request)) as api:
        api.version()
        return ensure_automations(api, desired, present=_present(request), check=check)


def end_lost_runs(held: Mapping[str, Any], deployment: str) -> list[str]:
    """End the runs of a deployment that nobody carries out any more; returns their names.

    A run whose process was killed stays Running for ever, and holds the one place of its
    deployment when the server was restarted meanwhile (Prefect keeps leases in memory): every
    run after it would be cancelled. Holding the database's one place proves that no step is at
    work; a run between two steps gives a sign of life, or has a process on this machine.

    Args:
        held: the credentials of a run.
        deployment: its name.

    Raises:
        Busy: a run is at work.
        MaintenanceError: the database or the API cannot be reached.
    """
    # Prefect takes long to import.
    from .server.api import open_api

    asked = {
        "flows": {"name": {"any_": [OWN_FLOW]}},
        "deployments": {"name": {"any_": [deployment]}},
        "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
    }
    crashed = {"type": "CRASHED", "name": "Crashed", "message": "Its worker ended before it did."}
    with (
        connect(held.get("db_url"), _LOCK_TIMEOUT) as database,
        only_runner(database),
        open_api(api_of(held)) as api,
    ):
        require_none_alive(database)
        found = api.ask("POST", "/flow_runs/filter", json=asked)
        lost = [run for run in found if not has_process(str(run["id"]))]
        for run in lost:
            api.ask(
                "POST",
                f"/flow_runs/{run['id']}/set_state",
                json={"state": crashed, "force": True},
            )
    return [str(run["name"]) for run in lost]


CHANGES = {"work_pool": work_pool, "deployment": deployment, "automation": automation}


def _present(request: Mapping[str, Any]) -> bool:
    return bool(request.get("state", "present") == "present")
