"""The engine on a target: whole, of one version, and that one for as long as a run lasts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.environments import ROOT

FILES = ROOT / "roles" / "prefect_maintenance" / "files"
ENGINE = {
    "__init__.py": "",
    "errors.py": "A = 1\n",
    "room/__init__.py": "",
    "room/here.py": "B = 1",
}


def lay_down(folder: Path, files: dict[str, str], *, check: bool = False) -> tuple[list[str], ...]:
    """Run the script as the role does; returns what differed, before and after."""
    asked = {"folder": str(folder), "files": files, "check": check}
    done = subprocess.run(
        [sys.executable, "-I", "-c", (FILES / "lay_down.py").read_text()],
        input=json.dumps(asked), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told["before"], told["after"]


def files_in(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prefect_maintenance"


def test_a_check_says_what_would_come_and_leaves_nothing(folder: Path) -> None:
    before, after = lay_down(folder, ENGINE, check=True)
    assert before == []
    assert {line.split()[0] for line in after} == {*ENGINE, "./", "room/"}
    assert list(folder.parent.iterdir()) == []
    assert lay_down(folder, ENGINE) == (before, after)
    assert files_in(folder) == ENGINE
    assert lay_down(folder, ENGINE) == ([], [])


def strange_file(folder: Path) -> None:
    (folder / "plan.py").write_text("flat")


def another_text(folder: Path) -> None:
    (folder / "room" / "here.py").write_text("B = 2")


def a_file_that_others_may_write(folder: Path) -> None:
    (folder / "errors.py").chmod(0o666)


def a_folder_that_others_may_write(folder: Path) -> None:
    (folder / "room").chmod(0o777)


def an_empty_folder(folder: Path) -> None:
    (folder / "rooms").mkdir()


def a_link(folder: Path) -> None:
    (folder / "errors.py").rename(folder.parent / "elsewhere.py")
    (folder / "errors.py").symlink_to(folder.parent / "elsewhere.py")


def a_missing_file(folder: Path) -> None:
    (folder / "errors.py").unlink()


@pytest.mark.parametrize(
    ("spoil", "path"),
    [
        (strange_file, "plan.py"),
        (another_text, "room/here.py"),
        (a_file_that_others_may_write, "errors.py"),
        (a_folder_that_others_may_write, "room/"),
        (an_empty_folder, "rooms/"),
        (a_link, "errors.py"),
        (a_missing_file, "errors.py"),
    ],
)
def test_whatever_is_not_as_it_should_be_is_named_and_put_right(
    folder: Path, spoil: Callable[[Path], object], path: str
) -> None:
    lay_down(folder, ENGINE)
    spoil(folder)
    checked = lay_down(folder, ENGINE, check=True)
    assert {line.split()[0] for lines in checked for line in lines} == {path}
    assert lay_down(folder, ENGINE) == checked
    assert files_in(folder) == ENGINE
    assert lay_down(folder, ENGINE) == ([], [])


def test_what_python_compiles_is_no_difference(folder: Path) -> None:
    lay_down(folder, ENGINE)
    compiled = folder / "room" / "__pycache__"
    compiled.mkdir()
    (compiled / "here.cpython-311.pyc").write_text("")
    assert lay_down(folder, ENGINE) == ([], [])


def test_the_folder_of_an_earlier_version_of_the_tool_is_replaced_whole(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    for name in ("__init__.py", "errors.py", "plan.py", "sizes.py"):
        (folder / name).write_text("flat")
    before, _ = lay_down(folder, ENGINE)
    assert {"plan.py", "sizes.py"} <= {line.split()[0] for line in before}
    assert files_in(folder) == ENGINE


def test_a_run_goes_on_with_the_version_that_it_began_with_and_the_next_has_the_new_one(
    folder: Path,
) -> None:
    """The flow's own first lines, before it imports what the engine of this test does not have."""
    begin = (FILES / "maintenance.py").read_text().split("from prefect_maintenance.errors")[0]
    begin += "from prefect_maintenance.errors import A; print(A, flush=True); input()\n"
    begin += "from prefect_maintenance.room.here import B; print(B)\n"

    def run() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", begin], cwd=folder.parent, text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    newer = ENGINE | {"errors.py": "A = 2\n", "room/here.py": "B = 2"}
    lay_down(folder, ENGINE)
    with run() as begun:
        assert begun.stdout is not None
        assert begun.stdout.readline() == "1\n"
        lay_down(folder, newer)
        assert begun.communicate("\n")[0] == "1\n"
    with run() as later:
        assert later.communicate("\n")[0] == "2\n2\n"


def test_only_the_version_before_stays_beside_the_one_in_use(folder: Path) -> None:
    for number in range(4):
        lay_down(folder, ENGINE | {"errors.py": f"A = {number}\n"})
    versions = sorted(path.joinpath("errors.py").read_text() for path in folder.parent.iterdir())
    assert versions == ["A = 2\n", "A = 3\n", "A = 3\n"]


def test_what_a_killed_predecessor_left_is_taken_away(folder: Path) -> None:
    lay_down(folder, ENGINE)
    (folder.parent / ".prefect_maintenance-half").mkdir()
    (folder.parent / ".prefect_maintenance.link").symlink_to("nowhere")
    lay_down(folder, ENGINE | {"errors.py": "A = 2\n"})
    left = {path.name for path in folder.parent.iterdir()}
    assert left & {".prefect_maintenance-half", ".prefect_maintenance.link"} == set()
