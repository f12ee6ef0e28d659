"""The scheduled maintenance of a server, and the processes of its worker."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect_maintenance.request.settings import Api
from prefect_maintenance.server.api import PrefectApi, open_api
from sites import Site
from world import SAME

from lab.server import PrefectServer

AUTH = "admin:sch3dule-s3cret"
KEY_HEADER = "header-s3cret"
DEPLOYMENT = "/deployments/name/prefect-maintenance/prefect-maintenance"


class Scheduled(Site):
    """A site whose server asks for credentials, and the place on the target."""

    def __init__(self, server: PrefectServer, folder: Path) -> None:
        super().__init__(server, folder)
        self.home = folder / "home"
        self.collector = folder / "collector"
        self.collector.mkdir()
        self.variables = {
            "prefect_maintenance_home": str(self.home),
            "prefect_maintenance_api_auth_string": AUTH,
            "prefect_maintenance_api_headers": {"X-Proxy": KEY_HEADER},
            "prefect_maintenance_retention_days": SAME["logs"],
            "prefect_maintenance_vacuum_min_bytes": 1,
            "prefect_maintenance_textfile_dir": str(self.collector),
        }

    @contextmanager
    def api(self) -> Iterator[PrefectApi]:
        with open_api(Api(self.server.api_url, auth_string=AUTH)) as api:
            yield api

    def automations(self) -> dict[str, str]:
        """Return the ids of all automations on the server by their names."""
        with self.api() as api:
            return {one["name"]: str(one["id"]) for one in api.ask("POST", "/automations/filter")}

    def start_run(self) -> str:
        with self.api() as api:
            made = api.ask("POST", f"/deployments/{api.find(DEPLOYMENT)['id']}/create_flow_run",
                           json={})  # fmt: skip
            return str(made["id"])

    def state(self, run: str) -> dict[str, Any]:
        with self.api() as api:
            found: dict[str, Any] = api.find(f"/flow_runs/{run}")
            return found

    def wait(self, run: str, states: tuple[str, ...], seconds: float = 90) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while (found := self.state(run))["state_type"] not in states:
            if time.monotonic() > until:
                raise TimeoutError(f"the run is {found['state_name']}: {self.worker_log()}")
            time.sleep(0.3)
        return found

    def logs(self, run: str, until: str, seconds: float = 30) -> list[dict[str, Any]]:
        """Return what a run logged, once it has said so: it sends its last lines when it ends."""
        asked = {"logs": {"flow_run_id": {"any_": [run]}}}
        end = time.monotonic() + seconds
        with self.api() as api:
            while True:
                logs: list[dict[str, Any]] = api.ask("POST", "/logs/filter", json=asked)
                if any(until in log["message"] for log in logs):
                    return logs
                if time.monotonic() > end:
                    raise TimeoutError(f"no log of the run says {until!r}: {logs}")
                time.sleep(0.3)

    def worker_log(self) -> str:
        log = self.folder / "worker.log"
        return log.read_text()[-3000:] if log.exists() else ""

    def worker_environment(self) -> dict[str, str]:
        """Return the environment that the role lays down for a worker."""
        laid = shlex.split((self.home / "worker.env").read_text(), comments=True)
        return {"PATH": os.environ["PATH"], **dict(entry.split("=", 1) for entry in laid)}

    def before_the_worker(self) -> str:
        """Do what the worker's unit does before it starts the worker; returns what it said."""
        credentials = str(self.home / "credentials.json")
        return subprocess.run(
            [self.server.python, self.home / "flow" / "maintenance.py", "prefect-maintenance"],
            env={**self.worker_environment(), "PREFECT_MAINTENANCE_CREDENTIALS": credentials},
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker in the environment that the role lays down for it."""
        program = self.server.python.parent / "prefect"
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [program, "worker", "start", "--type", "process", "--pool", "process-pool",
                 "--name", "tests"],
                env={**self.worker_environment(),
                     "PREFECT_WORKER_QUERY_SECONDS": "1", "TESTS_HOME": str(self.home)},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            kill_all(self.home)
            process.wait()


def kill_all(home: Path) -> None:
    """Kill a worker and the runs that it has started, which are in sessions of their own."""
    for process in of_worker(home):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def of_worker(home: Path) -> list[int]:
    """Return the processes that were given this home: a worker and the runs it has started."""
    mark = f"TESTS_HOME={home}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def command(process: int) -> str:
    """Return what everybody can see of a process."""
    try:
        shown = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return ""
    return shown.replace(b"\0", b" ").decode(errors="replace")
