"""Which credentials a request carries: the given ones, and a profile's only to its own address."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lab import environments
from lab.environments import ROOT

MODULE_UTILS = ROOT / "roles/prefect_maintenance/module_utils"
ASK = """
import json, sys
from prefect_maintenance.server.api import open_api
from prefect_maintenance.request.settings import parse_api
with open_api(parse_api(json.loads(sys.argv[1]))) as api:
    api.ask("GET", "/admin/version")
"""


class Listener:
    """An HTTP server that answers every request, or sends it on, and remembers its headers."""

    def __init__(self, send_on_to: str = "") -> None:
        self.seen: list[dict[str, str]] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.seen.append({k.lower(): v for k, v in self.headers.items()})
                self.send_response(307 if send_on_to else 200)
                if send_on_to:
                    self.send_header("Location", send_on_to + self.path)
                self.send_header("Content-Length", "7")
                self.end_headers()
                self.wfile.write(b'"3.8.8"')

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{self.origin}/api"


@contextmanager
def listening(send_on_to: str = "") -> Iterator[Listener]:
    listener = Listener(send_on_to)
    thread = Thread(target=listener.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield listener
    finally:
        listener.server.shutdown()
        thread.join()
        listener.server.server_close()


def ask(home: Path, profile: dict[str, str], request: dict[str, Any]) -> None:
    """Send one request with a profile active, as a target may have it."""
    lines = ['active = "theirs"', "[profiles.theirs]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in profile.items()]
    (home / "profiles.toml").write_text("\n".join(lines))
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = subprocess.run(
        [environments.prefect(), "-c", ASK, json.dumps(request)],
        env={**plain, "PREFECT_HOME": str(home), "PYTHONPATH": str(MODULE_UTILS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


CLOUD = "https://api.prefect.cloud/api/accounts/a/workspaces/w"
KEY = {"PREFECT_API_KEY": "pnu_theirs"}
AUTH = {"PREFECT_API_AUTH_STRING": "theirs:auth"}
HEADERS = {"PREFECT_CLIENT_CUSTOM_HEADERS": '{"X-Theirs": "theirs-header"}'}


@pytest.mark.parametrize("their_url", [CLOUD, "", "http://127.0.0.1:1/api", "https://{own}/api"])
def test_a_profiles_credentials_stay_from_any_other_address(tmp_path: Path, their_url: str) -> None:
    with listening() as server:
        own = server.origin.removeprefix("http://")
        address = {"PREFECT_API_URL": their_url.format(own=own)} if their_url else {}
        ask(tmp_path, {**address, **KEY, **AUTH, **HEADERS}, {"api_url": server.url})
    assert len(server.seen) == 1
    assert "authorization" not in server.seen[0]
    assert "theirs" not in str(server.seen)


@pytest.mark.parametrize("form", ["{}/api", "{}/api/"])
def test_they_go_to_the_profiles_own_address_however_it_is_written(
    tmp_path: Path, form: str
) -> None:
    with listening() as server:
        address = {"PREFECT_API_URL": form.format(server.origin.replace("http", "HTTP"))}
        ask(tmp_path, {**address, **KEY, **HEADERS}, {"api_url": server.url + "/"})
    assert server.seen[0]["authorization"] == "Bearer pnu_theirs"
    assert server.seen[0]["x-theirs"] == "theirs-header"


def test_given_credentials_come_before_those_of_the_profile(tmp_path: Path) -> None:
    with listening() as server:
        profile = {"PREFECT_API_URL": server.url, **AUTH, **KEY}
        ask(tmp_path, profile, {"api_url": server.url, "api_key": "given"})
    assert server.seen[0]["authorization"] == "Bearer given"


def test_a_server_that_sends_a_request_on_does_not_send_its_credentials(tmp_path: Path) -> None:
    with listening() as other, listening(other.origin) as server:
        given = {"api_key": "given-key", "api_headers": {"X-Token": "given-token"}}
        profile = {"PREFECT_API_URL": server.url, **HEADERS}
        ask(tmp_path, profile, {"api_url": server.url, **given})
    assert server.seen[0]["x-token"] == "given-token"
    assert len(other.seen) == 1
    for secret in ("given-key", "given-token", "theirs-header"):
        assert secret not in str(other.seen)
