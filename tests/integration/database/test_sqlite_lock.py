"""SQLite's one place for a maintenance run: no link is followed, every user finds the same one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.one_runner import only_runner
from prefect_maintenance.errors import Busy, PrivilegeError, SettingsError

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")

TAKE = """
import sys
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.one_runner import only_runner
with connect(sys.argv[1], 5) as database, only_runner(database):
    print("held", flush=True)
    sys.stdin.read()
"""


def runner(url: str) -> subprocess.Popen[str]:
    """Start a maintenance run that holds the place until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


@pytest.fixture
def shared(migrated_file: Path) -> Iterator[Path]:
    """A database of nobody's, in a folder of nobody's."""
    folder = Path(tempfile.mkdtemp(prefix="prefect-lock-"))
    path = folder / "prefect.db"
    shutil.copy(migrated_file, path)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(folder)


def lock_of(database: Path) -> Path:
    return database.with_name("prefect.db.maintenance-lock")


def take(database: Path) -> None:
    with connect(f"sqlite:///{database}", 5) as opened, only_runner(opened):
        assert lock_of(database).is_file()


@pytest.mark.parametrize(
    "kind", ["symbolic link", "hard link", "of an empty file", "fifo", "file renamed"]
)
def test_a_lock_that_somebody_planted_is_refused_and_what_it_names_stays(
    shared: Path, tmp_path: Path, kind: str
) -> None:
    precious = shared.with_name("precious")
    # An empty file could pass for a lock that nobody holds.
    text = "" if kind == "of an empty file" else "root's own"
    precious.write_text(text)
    precious.chmod(0o600)
    owner = precious.stat().st_uid
    lock = lock_of(shared)
    if kind == "symbolic link":
        lock.symlink_to(precious)
    elif kind in ("hard link", "of an empty file"):
        lock.hardlink_to(precious)
    elif kind == "fifo":
        os.mkfifo(lock)
    else:
        lock.write_text("root's own")
    with pytest.raises(PrivilegeError, match="no lock of this tool"):
        take(shared)
    assert precious.read_text() == text
    assert (precious.stat().st_uid, precious.stat().st_mode & 0o777) == (owner, 0o600)
    assert lock.is_symlink() or lock.exists()


def test_a_dangling_link_makes_no_file(shared: Path, tmp_path: Path) -> None:
    lock_of(shared).symlink_to(tmp_path / "made")
    with pytest.raises(PrivilegeError, match="is a symbolic link"):
        take(shared)
    assert not (tmp_path / "made").exists()


def test_two_names_of_one_database_have_one_place(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "other.db").symlink_to(shared)
    (tmp_path / "folder").symlink_to(shared.parent)
    with runner(f"sqlite:///{shared}") as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        for name in (tmp_path / "other.db", tmp_path / "folder" / "prefect.db"):
            with (
                pytest.raises(Busy, match=f"pid {held.pid}"),
                connect(f"sqlite:///{name}", 5) as opened,
                only_runner(opened),
            ):
                pytest.fail("two runs on one database")
        held.communicate("")
    take(shared)


def test_a_database_with_two_hard_links_is_refused(shared: Path) -> None:
    shared.with_name("twin.db").hardlink_to(shared)
    with pytest.raises(SettingsError, match="2 names"):
        take(shared)
    assert not lock_of(shared).exists()


@needs_root
def test_the_lock_of_a_killed_root_run_can_be_taken_by_the_databases_owner(shared: Path) -> None:
    with runner(f"sqlite:///{shared}") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "held\n"
        killed.kill()
    left = lock_of(shared).stat()
    assert (left.st_uid, left.st_gid) == (NOBODY, NOBODY)
    opened = subprocess.run(
        ["sh", "-c", 'exec 3<>"$1" && echo opened', "sh", lock_of(shared)],
        capture_output=True, text=True, user=NOBODY, group=NOBODY, extra_groups=[],
    )  # fmt: skip
    assert opened.stdout == "opened\n", opened.stderr
    take(shared)
    assert not lock_of(shared).exists()


def test_the_lock_is_as_open_as_the_database(shared: Path) -> None:
    shared.chmod(0o660)
    with connect(f"sqlite:///{shared}", 5) as opened, only_runner(opened):
        assert lock_of(shared).stat().st_mode & 0o777 == 0o660
