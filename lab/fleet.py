"""Many servers on a small machine: one process that answers for many databases of a cluster.

It stands in for the part of Prefect's API that the maintenance asks before it purges by SQL: who
are you, and is this your database. It cannot delete runs, so those databases hold logs and events
only. Tests of everything else talk to real servers.
"""

from __future__ import annotations

import json
import threading
import uuid
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from .environments import NEWEST
from .postgres import Postgres

FILL = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'fleet', 20, 'm', now() - day * interval '1 day'
FROM generate_series(1, {days}) day, generate_series(1, {rows})
"""
_REMEMBER = """
INSERT INTO variable (id, name, value, tags) VALUES (%s, %s, '"x"', '[]')
RETURNING id, name, created
"""
_MARKS = "SELECT id, name, created FROM variable WHERE name LIKE %s"


class Fleet:
    """Databases that are copies of a migrated one, each with an address of its own.

    Args:
        cluster: where they are made.
        template: the migrated database.
    """

    def __init__(self, cluster: Postgres, template: str) -> None:
        self._cluster, self._template = cluster, template
        self._names: list[str] = []

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"cluster": self._cluster})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        for name in self._names:
            self._cluster.drop_database(name)

    def add(self, name: str, days: int = 0, rows: int = 1) -> dict[str, Any]:
        """Make a server with logs of each of the last days; returns its host variables."""
        self._names.append(name)
        url = self._cluster.create_database(name, self._template)
        if days:
            self._cluster.execute(FILL.format(days=days, rows=rows), name)
        port = self._server.server_address[1]
        return {
            "prefect_maintenance_db_url": url,
            "prefect_maintenance_api_url": f"http://127.0.0.1:{port}/{name}/api",
        }

    def logs(self, name: str) -> int:
        """Return how many logs a server holds."""
        return int(self._cluster.execute("SELECT count(*) FROM log", name)[0][0])


class _Handler(BaseHTTPRequestHandler):
    cluster: Postgres

    def do_GET(self) -> None:
        answers = {"/admin/version": NEWEST, "/admin/settings": {}, "/health": True}
        known = self._path() in answers
        self._answer(answers.get(self._path(), {}), 200 if known else 404)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        if self._path() == "/block_types/filter":
            found = self.cluster.execute("SELECT id FROM block_type", self._database())
            return self._answer([{"id": str(row[0])} for row in found])
        if self._path() == "/variables/filter":
            like = asked["variables"]["name"]["like_"]
            found = self.cluster.execute(_MARKS, self._database(), (f"%{like}%",))
            return self._answer([_variable(*row) for row in found])
        found = self.cluster.execute(
            _REMEMBER, self._database(), (str(uuid.uuid4()), asked["name"])
        )
        return self._answer(_variable(*found[0]), 201)

    def do_DELETE(self) -> None:
        mark = self._path().rsplit("/", 1)[1]
        forget = "DELETE FROM variable WHERE CAST(id AS text) = %s"
        self.cluster.execute(forget, self._database(), (mark,))
        self._answer(None, 204)

    def log_request(self, *_: Any) -> None:
        """Print nothing."""

    def _database(self) -> str:
        return self.path.split("/")[1]

    def _path(self) -> str:
        return self.path.split("?")[0].split("/api", 1)[1]

    def _answer(self, value: Any, status: int = 200) -> None:
        body = b"" if status == 204 else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _variable(mark: Any, name: str, created: datetime) -> dict[str, str]:
    """Return a variable as the API shows it."""
    return {"id": str(mark), "name": name, "created": created.isoformat()}
