"""The tests stand where their part of the engine stands, and share what they share once."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.environments import ROOT

TESTS = ROOT / "tests"
ENGINE = ROOT / "roles" / "prefect_maintenance" / "module_utils" / "prefect_maintenance"
# The Ansible door, for one server and for many, and what the tests themselves stand on.
DOORS = {"role", "fleet", "lab"}
MODULES = sorted(TESTS.rglob("*.py"))
LONGEST = 59

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """Return the last part of each module's name that is imported, within functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.rpartition(".")[2] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").rpartition(".")[2]
            yield from (alias.name for alias in node.names)


def helpers(tree: ast.AST) -> Iterator[Function]:
    """Return the functions that are no tests."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and not node.name.startswith("test_"):
            yield node


def name_of(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_a_test(path: Path) -> None:
    tests = {module.stem for module in MODULES if module.stem.startswith("test_")}
    assert tests.isdisjoint(imported(parsed(path)))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_file_has_more_than_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_helper_is_longer_than_a_screen(path: Path) -> None:
    lengths = {one.name: (one.end_lineno or 0) - one.lineno + 1 for one in helpers(parsed(path))}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_no_helper_stands_in_two_files() -> None:
    seen: dict[str, dict[str, str]] = {}
    for path in MODULES:
        for node in parsed(path).body:
            if isinstance(node, Function) and not node.name.startswith("test_"):
                if ast.get_docstring(node):
                    node.body = node.body[1:]
                what = f"{ast.dump(node.args)} {[ast.dump(line) for line in node.body]}"
                seen.setdefault(what, {})[name_of(path)] = node.name
    assert [places for places in seen.values() if len(places) > 1] == []


def test_every_folder_is_a_room_or_a_door() -> None:
    parts = {path.stem for path in ENGINE.iterdir() if not path.name.startswith("_")} | DOORS
    folders = {
        path.name
        for kind in ("unit", "integration")
        for path in (TESTS / kind).iterdir()
        if path.is_dir() and not path.name.startswith("_")
    }
    assert folders
    assert folders <= parts


def test_no_two_files_of_tests_have_the_same_name() -> None:
    # pytest imports them by their name alone.
    names = Counter(path.name for path in MODULES if path.name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []
