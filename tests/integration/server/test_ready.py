"""A real server says how quick it is, and a step asks the one that speaks for its database."""

from __future__ import annotations

from typing import Any

import pytest
from maintenance import fill, request, run_step
from prefect_maintenance.request.settings import Api
from prefect_maintenance.server import latency
from prefect_maintenance.server.latency import Latency

from lab.server import PrefectServer


def test_a_server_says_how_quick_it_is(shared_server: PrefectServer) -> None:
    quick = Latency(Api(shared_server.api_url))
    assert quick.idle is not None
    assert 0 < quick.idle < latency._MOST


@pytest.mark.parametrize("threshold", [3, 0])
def test_a_purge_looks_at_the_api_once_it_is_proved_unless_that_is_off(
    shared_server: PrefectServer, monkeypatch: pytest.MonkeyPatch, threshold: int
) -> None:
    asked: list[str] = []
    made = Latency.__post_init__

    def noted(self: Any) -> None:
        asked.append(self.api.url)
        made(self)

    monkeypatch.setattr(Latency, "__post_init__", noted)
    fill(shared_server.db_url, seed=5)
    run_step("purge", request(shared_server, throttle={"api_latency": threshold}))
    assert asked == ([shared_server.api_url] if threshold else [])
