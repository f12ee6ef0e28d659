"""Who polls a work pool: without a worker its runs never begin."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import ApiError
from .api import PrefectApi

# Seconds in which a worker must start and send a heartbeat, which it does every 30 s.
_WORKER_TIMEOUT = 120
# So end the types of pools whose runs are begun by the infrastructure itself.
_WITHOUT_WORKERS = (":push", ":managed")


def without_worker(api: PrefectApi, pool: Mapping[str, Any]) -> str:
    """Return a warning when no worker polls a pool that needs one, else nothing.

    Args:
        api: of the server.
        pool: as the server holds it.

    Raises:
        ApiError: the server does not answer.
    """
    name = str(pool["name"])
    if str(pool["type"]).endswith(_WITHOUT_WORKERS) or _online(api, name):
        return ""
    return (
        f"no worker polls work pool {name}, so scheduled runs will not start; start one with: "
        f"prefect worker start --pool {name}"
    )


def wait_for_worker(api: PrefectApi, pool: str, worker: str, *, anew: bool) -> None:
    """Wait until a worker is heard of.

    Args:
        api: of the server.
        pool: the worker's pool.
        worker: its name.
        anew: it was started just now, so what was heard of it earlier does not count.

    Raises:
        ApiError: nothing was heard of it in the time allowed.
    """

    def heard() -> str | None:
        named = (one for one in _online(api, pool) if one["name"] == worker)
        return next((str(one["last_heartbeat_time"]) for one in named), None)

    earlier = heard() if anew else None
    until = time.monotonic() + _WORKER_TIMEOUT
    while (last := heard()) is None or last == earlier:
        if time.monotonic() > until:
            raise ApiError(
                f"nothing was heard of worker {worker} of work pool {pool} in "
                f"{_WORKER_TIMEOUT} s, so scheduled runs will not start; see the log of its service"
            )
        time.sleep(1.0)


def _online(api: PrefectApi, pool: str) -> list[dict[str, Any]]:
    """Return the workers of a pool that the server has heard of lately."""
    found: list[dict[str, Any]] = api.ask(
        "POST",
        f"/work_pools/{quote(pool, safe='')}/workers/filter",
        json={"workers": {"status": {"any_": ["ONLINE"]}}, "limit": 200},
    )
    return found
