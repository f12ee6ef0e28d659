"""The look before an installation: what is certainly wrong is named, what could be right is not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.environments import ROOT
from lab.postgres import Postgres, free_port
from lab.server import PrefectServer

SCRIPT = ROOT / "roles/prefect_maintenance/files/reach.py"
SECRET = "s3cret-word"


def look(environment: str = "", **asked: Any) -> list[str]:
    """Run the script as the role does; returns what it says is wrong."""
    given = {
        "api_url": "http://127.0.0.1:4200/api", "auth": "", "key": "", "headers": {},
        "ca_cert": "", "validate": True, "db_url": "", **asked,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT.read_text()], input=json.dumps(given),
        env={"PREFECT_DB_URL_SYNC": environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@contextmanager
def answering(status: int, **headers: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers every request alike; yields its address and the requests' headers."""
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_and_its_database_that_answer_are_nothing_to_talk_about(
    shared_server: PrefectServer,
) -> None:
    assert look(api_url=shared_server.api_url, db_url=shared_server.db_url) == []


def test_both_that_do_not_answer_are_named_with_their_variables() -> None:
    api, database = free_port(), free_port()
    found = look(
        api_url=f"http://127.0.0.1:{api}/api",
        db_url=f"postgresql://u:{SECRET}@127.0.0.1:{database}/prefect",
    )
    assert len(found) == 2
    assert found[0].startswith("prefect_maintenance_api_url: nothing answers at http://127.0.0.1")
    assert f"prefect_maintenance_db_url: nothing answers at 127.0.0.1:{database}" in found[1]


def test_the_targets_own_database_is_looked_at_where_none_is_named(cluster: Postgres) -> None:
    with answering(200) as (url, _):
        assert look(api_url=url, environment=cluster.url("postgres")) == []
        dead = f"postgresql://u:{SECRET}@127.0.0.1:{free_port()}/d"
        assert len(look(api_url=url, environment=dead)) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, ""),
        (401, "prefect_maintenance_api_auth_string"),
        (403, "prefect_maintenance_api_auth_string"),
        (404, "ends in /api"),
        (500, ""),
        (503, ""),
    ],
)
def test_what_an_api_answers_is_judged_only_where_it_is_certain(status: int, said: str) -> None:
    with answering(status) as (url, _):
        found = look(api_url=url)
    assert len(found) == bool(said)
    assert said in "".join(found)


def test_credentials_go_to_the_address_that_was_named_and_nowhere_else() -> None:
    with answering(200) as (other, others), answering(302, Location=other) as (url, heard):
        assert look(api_url=url, key=SECRET, headers={"X-Mine": SECRET}) == []
    assert heard[0]["Authorization"] == f"Bearer {SECRET}"
    assert heard[0]["X-Mine"] == SECRET
    assert others == []


def test_a_certificate_that_this_python_does_not_trust_is_no_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_refuse_tls, args=(listener,))
        thread.start()
        found = look(api_url=f"https://127.0.0.1:{listener.getsockname()[1]}/api", key=SECRET)
        thread.join()
    assert found == []


def _refuse_tls(listener: socket.socket) -> None:
    """Answer a TLS handshake with an alert, as a server does that shows no good certificate."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        handshake_failure = bytes((21, 3, 3, 0, 2, 2, 40))
        connection.sendall(handshake_failure)


def test_a_file_of_sqlite_is_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "prefect.db"
    with answering(200) as (url, _):
        found = look(api_url=url, db_url=f"sqlite:///{file}")
        assert f"there is no SQLite database at {file}" in found[0]
        file.touch()
        assert look(api_url=url, db_url=f"sqlite+aiosqlite:///{file}?mode=rw") == []


@pytest.mark.parametrize(
    "written",
    [
        f"postgresql://u:{SECRET}@/prefect?host=/var/run/postgresql",
        f"postgresql://u:{SECRET}@a:1,b:2/prefect",
        f"postgresql://u:{SECRET}@h@127.0.0.1:1/prefect",
        f"postgresql://{SECRET}",
        f"u:{SECRET}",
        "sqlite:///relative.db",
        "sqlite://",
    ],
)
def test_an_address_that_can_be_read_in_several_ways_is_left_to_the_engine(written: str) -> None:
    with answering(200) as (url, _):
        assert look(api_url=url, db_url=written) == []
