"""PgBouncer before a cluster, on a free port of 127.0.0.1, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from . import debian
from .postgres import PASSWORD, Postgres, free_port


def program() -> str | None:
    """Return where pgbouncer is; root on Debian installs it; None where it cannot be had."""
    known = f"{os.environ.get('PATH', '')}:/usr/sbin"
    if not shutil.which("pgbouncer", path=known):
        debian.install("pgbouncer")
    return shutil.which("pgbouncer", path=known)


@contextmanager
def pooler(cluster: Postgres, mode: str, size: int = 20) -> Iterator[int]:
    """Run a pool in a mode ("session", "transaction") until the end; yields its port.

    Args:
        cluster: whose databases are reached through it, as the superuser.
        mode: when a session goes back to the pool.
        size: sessions for each database.
    """
    found = program()
    if found is None:
        raise FileNotFoundError("pgbouncer is not installed: install your system's package of it")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="prefect-lab-pooler-") as home:
        folder = Path(home)
        (folder / "users").write_text(f'"postgres" "{PASSWORD}"\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={cluster.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {folder / 'users'}\n"
            f"pool_mode = {mode}\ndefault_pool_size = {size}\n"
        )
        who = {}
        if os.geteuid() == 0:
            # PgBouncer refuses to run as root.
            nobody = pwd.getpwnam("nobody")
            for path in (folder, folder / "users", folder / "ini"):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
            who = {"user": nobody.pw_uid, "group": nobody.pw_gid}
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [found, str(folder / "ini")],
                stdout=log,
                stderr=log,
                user=who.get("user"),
                group=who.get("group"),
            )
        try:
            _wait(process, port, folder / "log")
            yield port
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    while process.poll() is None:
        try:
            psycopg2.connect(
                host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname="postgres"
            ).close()
            return
        except psycopg2.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"pgbouncer did not come up:\n{log.read_text()}")
