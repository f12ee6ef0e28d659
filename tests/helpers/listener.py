"""Somebody whom a notification block tells, and the events that automations make."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prefect_maintenance.server.api import PrefectApi


@contextmanager
def listening() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Lend the address of a server that takes messages, and the list of what it was told."""
    told: list[dict[str, str]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            told.append(json.loads(self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *parts: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Taker) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", told
        finally:
            server.shutdown()
            thread.join()


def make_block(api: PrefectApi, name: str, kind: str, data: dict[str, Any]) -> str:
    """Make a block of one of Prefect's own types; returns its name as people write it."""
    kind_id = api.find(f"/block_types/slug/{kind}")["id"]
    asked = {"block_schemas": {"block_type_id": {"any_": [kind_id]}}}
    schemas = api.ask("POST", "/block_schemas/filter", json=asked)
    body = {"block_type_id": kind_id, "block_schema_id": schemas[0]["id"], "data": data}
    api.ask("POST", "/block_documents/", json={**body, "name": name})
    return f"{kind}/{name}"


def triggered(api: PrefectApi, automation: str) -> list[dict[str, Any]]:
    """Return the events of an automation that has acted."""
    asked = {
        "event": {"name": ["prefect.automation.triggered"]},
        "resource": {"id": [f"prefect.automation.{automation}"]},
    }
    found: list[dict[str, Any]] = api.ask("POST", "/events/filter", json={"filter": asked})[
        "events"
    ]
    return found
