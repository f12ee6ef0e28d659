"""Packages that a test needs on a Debian machine, installed where that is allowed."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import environments

_PROGRAM = "pg_repack"


def install(*packages: str) -> bool:
    """Install packages as root on Debian, one process at a time; returns whether that worked."""
    if os.geteuid() or not shutil.which("apt-get"):
        return False
    environments.CACHE.mkdir(exist_ok=True)
    quiet = {"stdout": subprocess.DEVNULL, "check": False}
    with (environments.CACHE / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["apt-get", "update", "-q"], **quiet)  # type: ignore[call-overload]
        done = subprocess.run(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            **quiet,
        )  # type: ignore[call-overload]
    return not done.returncode


def pg_repack() -> Path | None:
    """Return the program pg_repack beside a PostgreSQL of the system; CI as root installs both."""
    found = _newest_repack()
    if not found and os.environ.get("CI") == "true" and install(*_repack_package()):
        found = _newest_repack()
    return found


def _newest_repack() -> Path | None:
    programs = environments.SYSTEM.glob(f"*/bin/{_PROGRAM}")
    return max(programs, key=lambda path: int(path.parts[-3]), default=None)


def _repack_package() -> list[str]:
    pattern = r"^postgresql-[0-9]+-repack$"
    told = subprocess.run(
        ["apt-cache", "search", "--names-only", pattern],
        capture_output=True,
        text=True,
        check=False,
    )
    names = re.findall(r"^postgresql-\d+-repack", told.stdout, re.MULTILINE)
    return sorted(names, key=lambda name: int(name.split("-")[1]))[-1:]
