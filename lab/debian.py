"""Packages that a test needs on a Debian machine, installed where that is allowed."""

from __future__ import annotations

import fcntl
import fnmatch
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import environments

_PROGRAM = "pg_repack"


def install(*packages: str) -> bool:
    """Install packages as root on Debian, one process at a time; returns whether that worked.

    A name may hold a star; of those that match, the one with the highest number is meant.
    """
    if os.geteuid() or not shutil.which("apt-get"):
        return False
    environments.CACHE.mkdir(exist_ok=True)
    with (environments.CACHE / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _apt("apt-get", "update", "-q")
        names = [_last(name) if "*" in name else name for name in packages]
        done = _apt("apt-get", "install", "-q", "-y", "--no-install-recommends", *names)
    return not done.returncode


def pg_repack() -> Path | None:
    """Return the program pg_repack beside a PostgreSQL of the system; CI as root installs both."""
    found = _newest_repack()
    if not found and os.environ.get("CI") == "true" and install("postgresql-*-repack"):
        found = _newest_repack()
    return found


def _newest_repack() -> Path | None:
    # Where the system has the newest version too, the lab takes the embedded one, which has none.
    beside = environments.SYSTEM.glob(f"*/bin/{_PROGRAM}")
    programs = (path for path in beside if path.parts[-3] != environments.POSTGRES)
    return max(programs, key=lambda path: int(path.parts[-3]), default=None)


def _last(pattern: str) -> str:
    known = _apt("apt-cache", "pkgnames").stdout.split()
    names = [name for name in known if fnmatch.fnmatch(name, pattern)]
    return max(names, key=lambda name: int(re.sub(r"\D", "", name) or 0), default=pattern)


def _apt(*command: str) -> subprocess.CompletedProcess[str]:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
