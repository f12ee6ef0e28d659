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


def unpacked(package: str) -> Path | None:
    """Return a folder with a package's files, fetched on first use; None where it cannot be had.

    Nothing is installed, so no service of the package starts, and any user may ask.
    """
    home = environments.CACHE / f"debian-{package}"
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return None
    try:
        with environments.made_once(home) as missing:
            if missing and not _fetched(package, home):
                _update()
                if not _fetched(package, home):
                    raise FileNotFoundError(package)
    except FileNotFoundError:
        return None
    return home


def _fetched(package: str, home: Path) -> bool:
    home.mkdir(exist_ok=True)
    _apt("apt-get", "download", "-q", package, cwd=home)
    archives = list(home.glob("*.deb"))
    done = [_apt("dpkg-deb", "-x", str(archive), str(home)) for archive in archives]
    for archive in archives:
        archive.unlink()
    return bool(done) and not any(one.returncode for one in done)


def _update() -> None:
    """Fetch the lists of packages, which only root may."""
    if os.geteuid() == 0:
        _apt("apt-get", "update", "-q")


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


def _apt(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=quiet, cwd=cwd, capture_output=True, text=True, check=False)
