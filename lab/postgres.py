"""A PostgreSQL cluster of one's own, on a free port of 127.0.0.1, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg2

from . import environments

PASSWORD = "lab-secret"


class Postgres:
    """A running cluster with the superuser postgres, password authentication over TCP.

    Args:
        version: the major version; `environments.postgres` says where it comes from.
        options: settings of the server, as for its -c.
        durable: keep fsync on, as in production; off is faster to start.
        folder: where its files lie; the system's for temporary files where none is named.
    """

    def __init__(
        self,
        version: str = environments.POSTGRES,
        options: Mapping[str, str] | None = None,
        durable: bool = False,
        folder: Path | None = None,
    ) -> None:
        self.version = version
        self._folder = folder
        self.port = free_port()
        self._options = {
            "listen_addresses": "127.0.0.1",
            "max_connections": "200",
            "fsync": "on" if durable else "off",
            **(options or {}),
        }

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="prefect-lab-postgres-", dir=self._folder))
        self.data = self._home / "data"
        try:
            self._make()
            self.start()
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
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._home)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = " ".join(f"-c {name}={value}" for name, value in self._options.items())
        self._run(
            "pg_ctl", "-D", str(self.data), "-l", str(self._home / "log"), "-w", "-t", "60",
            "-o", f"-p {self.port} -c unix_socket_directories={self._home} {options}", "start",
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "smart", "fast" or "immediate"."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def restart(self) -> None:
        """Stop the server, whoever is connected to it, and start it again."""
        self.stop()
        self.start()

    @contextmanager
    def standby(self) -> Iterator[Postgres]:
        """Run a streaming standby of this cluster until the end of the block."""
        follower = Postgres(self.version, self._options)
        with tempfile.TemporaryDirectory(prefix="prefect-lab-standby-") as home:
            follower._home = Path(home)
            follower.data = follower._home / "data"
            follower._bin, follower._user = self._bin, self._user
            if self._user:
                os.chown(home, self._user.pw_uid, self._user.pw_gid)
            source = f"host=127.0.0.1 port={self.port} user=postgres password={PASSWORD}"
            follower._run(
                "pg_basebackup", "-D", str(follower.data), "-R", "-d", source, "-c", "fast",
                "--no-sync",
            )  # fmt: skip
            follower.start()
            try:
                yield follower
            finally:
                follower.stop("immediate")

    def url(self, database: str, user: str = "postgres", password: str = PASSWORD) -> str:
        """Return the SQLAlchemy URL of a database, with the password percent-encoded."""
        return (
            f"postgresql+psycopg2://{user}:{quote(password, safe='')}"
            f"@127.0.0.1:{self.port}/{database}"
        )

    def execute(
        self, sql: str, database: str = "postgres", values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Carry out a statement as superuser, outside of any transaction."""
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=PASSWORD, dbname=database
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, as a copy of another where one is named; returns its URL."""
        self.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def program(self, name: str) -> str:
        """Return the path of one of PostgreSQL's programs.

        It is of the server's own version, or of the newest, which understands older servers.
        """
        own = self._bin / name
        return str(own if own.exists() else environments.postgres() / name)

    def log(self) -> str:
        """Return what the server has logged."""
        return (self._home / "log").read_text()

    def _make(self) -> None:
        self._bin, self._user = environments.postgres(self.version), None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            self._user = pwd.getpwnam("nobody")
            if self._bin.is_relative_to(environments.CACHE):
                # The checkout may lie where that account cannot look; libraries stand beside.
                tree = environments.CACHE / self._bin.relative_to(environments.CACHE).parts[0]
                shutil.copytree(tree, self._home / "programs", symlinks=True)
                self._bin = self._home / "programs" / self._bin.relative_to(tree)
            self._own(self._home, *self._home.rglob("*"))
        seed = environments.seed(self.version)
        if seed:
            shutil.copytree(seed, self.data)
            self._own(self.data, *self.data.rglob("*"))
            return
        secret = self._home / "password"
        secret.write_text(PASSWORD)
        self._own(secret)
        self._run(
            "initdb", "-D", str(self.data), "-U", "postgres", "-A", "scram-sha-256",
            f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip

    def _own(self, *paths: Path) -> None:
        """Give files to the account that the server runs as."""
        if who := self._user:
            for path in paths:
                os.chown(path, who.pw_uid, who.pw_gid, follow_symlinks=False)

    def _run(self, program: str, *arguments: str) -> None:
        who = {"user": self._user.pw_uid, "group": self._user.pw_gid} if self._user else {}
        found = subprocess.run(
            [self._bin / program, *arguments],
            cwd=self._home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **({**who, "extra_groups": []} if who else {}),  # type: ignore[call-overload]
        )
        if found.returncode:
            log = self._home / "log"
            told = log.read_text()[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {found.stderr}\n{told}")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
