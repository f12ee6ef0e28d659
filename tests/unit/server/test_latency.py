"""How long the API takes is asked now and then, and one slow answer says nothing yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prefect_maintenance.request.settings import Api
from prefect_maintenance.server.latency import Latency


@dataclass
class Server:
    """Answers `/api/ready` and nothing else; its clock goes on by what an answer takes."""

    now: float = 0.0
    takes: float = 0.02
    status: int = 200
    asked: list[Any] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def begun(self) -> tuple[ThreadingHTTPServer, str]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers))
                server.now += server.takes
                self.send_response(server.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        there = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=there.serve_forever, daemon=True).start()
        return there, f"http://127.0.0.1:{there.server_port}/api"


@pytest.fixture
def served() -> Iterator[tuple[Server, str]]:
    server = Server()
    there, url = server.begun()
    yield server, url
    there.shutdown()
    there.server_close()


def test_the_middle_of_three_answers_counts(served: tuple[Server, str]) -> None:
    server, url = served
    latency = Latency(Api(url), server.clock)
    assert latency.idle == pytest.approx(0.02)
    taken = []
    for takes in (3.0, 0.02, 0.02, 3.0, 4.0):
        server.takes = takes
        server.now += 1.0
        taken.append(latency())
    assert taken[:2] == [None, None]
    assert taken[2:] == [pytest.approx(0.02), pytest.approx(0.02), pytest.approx(3.0)]


def test_it_is_asked_once_a_second(served: tuple[Server, str]) -> None:
    server, url = served
    latency = Latency(Api(url), server.clock)
    before = len(server.asked)
    server.now += 0.5
    latency()
    assert len(server.asked) == before
    server.now += 0.5
    latency()
    latency()
    assert len(server.asked) == before + 1


@pytest.mark.parametrize("status", [302, 401, 503])
def test_any_answer_is_one_and_what_lets_us_in_goes_nowhere_else(
    served: tuple[Server, str], status: int
) -> None:
    server, url = served
    server.status = status
    api = Api(url, auth_string="a:b", headers={"X-Tenant": "t"})
    assert Latency(api, server.clock).idle == pytest.approx(0.02)
    assert {path for path, _ in server.asked} == {"/api/ready"}
    assert server.asked[0][1]["Authorization"] == "Basic YTpi"
    assert server.asked[0][1]["X-Tenant"] == "t"


def test_a_server_that_does_not_answer_is_unknown(served: tuple[Server, str]) -> None:
    server, _ = served
    there, url = Server().begun()
    there.shutdown()
    there.server_close()
    latency = Latency(Api(url), server.clock)
    assert latency.idle is None
    assert latency() is None
