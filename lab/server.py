"""Real Prefect servers, each with its own home, database and port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError, URLError

import psycopg2
from psycopg2.extensions import connection as Connection
from sqlalchemy.engine import URL, make_url

from . import environments
from .postgres import free_port

SQLITE_SEED = environments.CACHE / "seed-sqlite" / "prefect.db"
_MAY_COPY = """
SELECT rolsuper AND EXISTS (SELECT 1 FROM pg_database WHERE datname = %s)
FROM pg_roles WHERE rolname = current_user
"""
_BLANK = """
SELECT (SELECT count(*) FROM pg_class WHERE oid >= 16384)
     + (SELECT count(*) FROM pg_namespace WHERE oid >= 16384)
     + (SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database())
     + (SELECT count(*) FROM pg_database WHERE datname = current_database()
        AND dattablespace <> (SELECT oid FROM pg_tablespace WHERE spcname = 'pg_default'))
"""
# Nothing of the server's own may change the rows that a test or a demo watches.
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P3650D",
    # Otherwise heartbeats are deleted after a week, however long other events are kept.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": "{}",
    "PREFECT_API_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_API_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_API_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_API_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_API_SERVICES_REPOSSESSOR_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED": "false",
    # A schedule has its runs at once, and not within a minute.
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
}


class PrefectServer:
    """A running `prefect server start`.

    Args:
        db_url: a synchronous SQLAlchemy URL of a PostgreSQL or SQLite database.
        version: which Prefect.
        environment: more settings for the server, e.g. its auth string.
    """

    def __init__(
        self,
        db_url: str,
        version: str = environments.NEWEST,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.db_url = db_url
        self.version = version
        self.port = free_port()
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self._more = dict(environment or {})

    def __enter__(self) -> Self:
        self.python = environments.prefect(self.version)
        self.home = Path(tempfile.mkdtemp(prefix="prefect-lab-server-"))
        self.log = self.home / "server.log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [self.python.parent / "prefect", "server", "start", "--port", str(self.port)],
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The group was made for this process alone, so its id is the process's.
        for wish in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, wish)
                self._process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The id of the server's process and of its group."""
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """Return the environment of the server, and of flows that talk to it."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        return {
            **inherited,
            **QUIET,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_DATABASE_CONNECTION_URL": asynchronous(self.db_url),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_UI_API_URL": self.api_url,
            **self._more,
        }

    def run(self, script: Path, *arguments: str) -> str:
        """Run a script with the server's interpreter against the server; returns its output."""
        done = subprocess.run(
            [self.python, script, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            raise RuntimeError(f"{script.name} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def _wait(self, seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.api_url}/health", timeout=2) as answer:
                    if answer.read() == b"true":
                        return self._check_routes()
            except (URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"the server did not come up:\n{self.log.read_text()[-3000:]}")

    def _check_routes(self) -> None:
        # With a fastapi it does not fit, a server is healthy and answers 500 everywhere else.
        try:
            with urllib.request.urlopen(f"{self.api_url}/admin/version", timeout=10):
                return
        except HTTPError as error:
            if error.code >= 500:
                raise RuntimeError(
                    f"the server is up but broken:\n{self.log.read_text()[-3000:]}"
                ) from error


def template_of(version: str) -> str:
    """Name the database of a cluster that has the schema of a Prefect version, if it has one."""
    return f"prefect-{version}"


def migrate(db_url: str, version: str = environments.NEWEST) -> None:
    """Give a database the schema of a Prefect version.

    An empty one becomes a copy of a database that has it, where there is one.
    """
    if _copied(make_url(db_url), version):
        return
    with tempfile.TemporaryDirectory(prefix="prefect-lab-home-") as home:
        done = subprocess.run(
            [environments.prefect(version).parent / "prefect", "server", "database", "upgrade",
             "-y"],
            env={
                **os.environ,
                "PREFECT_HOME": home,
                "PREFECT_API_DATABASE_CONNECTION_URL": asynchronous(db_url),
            },
            capture_output=True,
            text=True,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the migration failed:\n{done.stdout}\n{done.stderr}")


def _copied(url: URL, version: str) -> bool:
    if url.get_backend_name() == "sqlite":
        return _file_copied(Path(str(url.database)), version)
    template = template_of(version)
    with closing(_connected(url.set(database="postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_MAY_COPY, [template])
            there = cursor.fetchall() == [(True,)] and template != url.database
            if not (there and _is_blank(url)):
                return False
            cursor.execute(f'DROP DATABASE "{url.database}"')
            cursor.execute(f'CREATE DATABASE "{url.database}" TEMPLATE "{template}"')
    return True


def _is_blank(url: URL) -> bool:
    """Tell whether a database is as CREATE DATABASE makes it."""
    with closing(_connected(url)) as connection, connection.cursor() as cursor:
        cursor.execute(_BLANK)
        return bool(cursor.fetchall() == [(0,)])


def _connected(url: URL) -> Connection:
    return psycopg2.connect(
        host=url.host,
        port=url.port,
        user=url.username,
        password=url.password,
        dbname=url.database,
    )


def _file_copied(path: Path, version: str) -> bool:
    known = environments.is_made(SQLITE_SEED.parent, *environments.seed_locks())
    if version != environments.NEWEST or path.exists() or not known:
        return False
    shutil.copy(SQLITE_SEED, path)
    return True


def asynchronous(db_url: str) -> str:
    """Return a database URL with the driver that Prefect's server wants."""
    scheme, rest = db_url.split("://", 1)
    driver = "sqlite+aiosqlite" if scheme.startswith("sqlite") else "postgresql+asyncpg"
    return f"{driver}://{rest}"
