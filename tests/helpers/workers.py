"""What the server hears of a worker, without the worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefect_maintenance.errors import ApiError
from prefect_maintenance.request.settings import Api
from prefect_maintenance.server.api import open_api

from lab.server import PrefectServer


def heartbeat(server: PrefectServer, pool: str, worker: str) -> None:
    """Let the server hear of a worker once."""
    with open_api(Api(server.api_url)) as api:
        api.ask("POST", f"/work_pools/{pool}/workers/heartbeat", json={"name": worker})


@contextmanager
def heartbeats(server: PrefectServer, pool: str, worker: str) -> Iterator[None]:
    """Let the server hear of a worker every second, as soon as the pool is there."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(1.0):
            with suppress(ApiError):
                heartbeat(server, pool, worker)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()
