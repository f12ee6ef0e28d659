"""A stand-in for AWX's REST API: it keeps what it is sent, and answers searches by field.

Enough for awx.awx's modules to make, find and compare the objects that awx/apply.yml brings.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

VERSION = "24.6.1"
_TEMPLATES = ("job_templates", "projects", "inventory_sources")
_PARTS = ("survey_spec", "success_nodes", "failure_nodes", "always_nodes")


class Controller:
    """An AWX with one organization; `objects` holds what it knows, by endpoint and id."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[int, dict[str, Any]]] = {}
        self._last = 0
        self.add("organizations", {"name": "Default"})

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"controller": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def all(self, endpoint: str) -> list[dict[str, Any]]:
        """Return the objects of an endpoint."""
        return list(self.objects.get(endpoint, {}).values())

    def named(self, endpoint: str) -> dict[str, dict[str, Any]]:
        """Return the objects of an endpoint by name."""
        return {thing["name"]: thing for thing in self.all(endpoint)}

    def add(self, endpoint: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Make an object; returns it with its id and addresses."""
        self._last += 1
        address = f"/api/v2/{endpoint}/{self._last}/"
        related = {part: f"{address}{part}/" for part in _PARTS}
        thing = {
            "type": endpoint.removesuffix("s"),
            "kind": "",
            "scm_revision": "",
            "summary_fields": {},
            **fields,
            "id": self._last,
            "url": address,
            "related": related,
        }
        self.objects.setdefault(endpoint, {})[self._last] = thing
        return thing

    def find(self, endpoint: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """Return the objects whose fields have the values of the query."""
        names = _TEMPLATES if endpoint == "unified_job_templates" else (endpoint,)
        known = [thing for name in names for thing in self.objects.get(name, {}).values()]
        wanted = {key.removeprefix("or__"): value for key, value in query.items()}
        return [one for one in known if all(str(one.get(k)) == v for k, v in wanted.items())]


class _Handler(BaseHTTPRequestHandler):
    controller: Controller

    def do_GET(self) -> None:
        endpoint, number, part = self._where()
        if number is None:
            query = dict(parse_qsl(urlsplit(self.path).query))
            query.pop("page_size", None)
            found = self.controller.find(endpoint, query)
            self._answer({"count": len(found), "results": found, "next": None})
        elif part == "survey_spec":
            self._answer(self._thing().get("survey_spec", {}))
        elif part:
            found = [{"id": one} for one in self._thing().get(part, [])]
            self._answer({"count": len(found), "results": found, "next": None})
        else:
            self._answer(self._thing())

    def do_POST(self) -> None:
        endpoint, number, part = self._where()
        sent = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        if number is None:
            self._answer(self.controller.add(endpoint, sent), 201)
        elif part == "survey_spec":
            self._thing()["survey_spec"] = sent
            self._answer({})
        elif part == "create_approval_template":
            made = self.controller.add("workflow_approval_templates", sent)
            self._thing()["unified_job_template"] = made["id"]
            self._thing()["related"]["unified_job_template"] = made["url"]
            self._answer(made, 201)
        else:
            self._thing().setdefault(part, []).append(sent["id"])
            self._answer(None, 204)

    def do_PATCH(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._thing().update(sent)
        self._answer(self._thing())

    def log_request(self, *_: Any) -> None:
        """Print nothing."""

    def _where(self) -> tuple[str, int | None, str]:
        parts = [*urlsplit(self.path).path.removeprefix("/api/v2/").strip("/").split("/"), "", ""]
        return parts[0], int(parts[1]) if parts[1] else None, parts[2]

    def _thing(self) -> dict[str, Any]:
        endpoint, number, _ = self._where()
        return self.controller.objects[endpoint][number or 0]

    def _answer(self, value: Any, status: int = 200) -> None:
        body = b"" if status == 204 else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", VERSION)
        self.end_headers()
        self.wfile.write(body)
