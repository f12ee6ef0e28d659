"""Stuck runs at the server: whether a worker or a pause still speaks for them, and their end.

A run is ended as if a client said so, by Prefect's own rules (core_policy.CoreFlowPolicy): the
server locks the run, refuses with ABORT when it has ended meanwhile, and gives back the slot of
its deployment's concurrency limit. With `force` it would write over the end of a run that has just
completed. Only out of CANCELLING those rules let no run but as cancelled, so there it is forced.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import ApiError
from ..request.instants import iso
from ..request.rules import TERMINAL_STATES

if TYPE_CHECKING:
    from .api import PrefectApi

_PAGE = 200


def end_run(api: PrefectApi, kind: str, run: str, state: str, message: str) -> str | None:
    """End an unfinished run as crashed; returns why that was not done, or None when it has ended.

    Args:
        api: of the server.
        kind: "flow_runs" or "task_runs".
        run: its id.
        state: that it was in.
        message: of the state that it gets.

    Raises:
        ApiError: the server did not answer.
    """
    body = {
        "state": {"type": "CRASHED", "name": "Crashed", "message": message},
        "force": kind == "flow_runs" and state == "CANCELLING",
    }
    try:
        answer = api.ask("POST", f"/{kind}/{run}/set_state", json=body)
    except ApiError as error:
        if error.status != 404:
            raise
        return "it is gone"
    status, now = answer["status"], (answer.get("state") or {}).get("type")
    # A pause that has timed out is rejected, and the run fails instead.
    if status == "ACCEPT" or (status == "REJECT" and now in TERMINAL_STATES):
        return None
    reason = str((answer.get("details") or {}).get("reason") or "").rstrip(".")
    return f"the server answered {status}: {reason or 'it gave no reason'}"


def delete_late(
    api: PrefectApi, ids: Sequence[str], names: Sequence[str], cutoff: datetime, *, tagged: bool
) -> bool:
    """Delete those among some runs that still are scheduled for before the cutoff and never ran.

    Args:
        api: of the server.
        ids: at most 50 flow runs.
        names: of the state, in which a run has never started.
        cutoff: they were to start before it.
        tagged: they have tags; one without that gets some meanwhile, perhaps a hold, stays.

    Returns:
        Whether the server can delete with a filter: before Prefect 3.6.16 it cannot, and nothing
        was deleted.

    Raises:
        ApiError: the server did not do it.
    """
    guard = {
        "operator": "and_",
        "id": {"any_": list(ids)},
        "state": {
            "operator": "and_",
            "type": {"any_": ["SCHEDULED"]},
            "name": {"any_": list(names)},
        },
        "expected_start_time": {"before_": iso(cutoff)},
        "next_scheduled_start_time": {"before_": iso(cutoff)},
        "start_time": {"is_null_": True},
        "parent_task_run_id": {"is_null_": True},
        **({} if tagged else {"tags": {"operator": "and_", "is_null_": True}}),
    }
    try:
        body = {"flow_runs": guard, "limit": len(ids)}
        api.ask("POST", "/flow_runs/bulk_delete", json=body)
    except ApiError as error:
        if error.status not in (404, 405):
            raise
        return False
    return True


def paused(api: PrefectApi, deployment: str | None, queue: str | None) -> str:
    """Say what is paused that a scheduled run waits for, or nothing.

    Raises:
        ApiError: the server does not answer.
    """
    of = api.find(f"/deployments/{deployment}") if deployment else None
    if of and of.get("paused"):
        return "its deployment is paused"
    waits = (api.find(f"/work_queues/{queue}") if queue else None) or {}
    if waits.get("is_paused"):
        return f"its work queue {waits['name']} is paused"
    name = waits.get("work_pool_name") or (of or {}).get("work_pool_name")
    pool: Any = api.find(f"/work_pools/{quote(str(name), safe='')}") if name else None
    return f"its work pool {name} is paused" if pool and pool.get("is_paused") else ""


def heard_of(api: PrefectApi, pool: str, worker: str, since: datetime) -> bool:
    """Tell whether a worker has sent a heartbeat since an instant.

    Raises:
        ApiError: the server does not answer.
    """
    path = f"/work_pools/{quote(pool, safe='')}/workers/filter"
    recent = {"last_heartbeat_time": {"after_": iso(since)}}
    for page in count():
        asked = {"workers": recent, "limit": _PAGE, "offset": page * _PAGE}
        try:
            found: list[dict[str, Any]] = api.ask("POST", path, json=asked)
        except ApiError as error:
            if error.status != 404:
                raise
            break
        if any(one["name"] == worker for one in found):
            return True
        if len(found) < _PAGE:
            break
    return False
