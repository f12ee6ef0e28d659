"""The engine's rooms stand one upon the other: each imports only from those below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.environments import ROOT

ENGINE = ROOT / "roles" / "prefect_maintenance" / "module_utils" / "prefect_maintenance"
# From the ground up: a file or folder may import from those before it, and a folder from itself.
ROOMS = (
    "errors",
    "events",
    "units",
    "catalogue",
    "request",
    "database",
    "server",
    "measure",
    "pace",
    "plan",
    "execute",
    "report",
    "run",
    "flow_form",
    "flow_shown",
    "flow",
    "schedule",
)
FILES = sorted(ENGINE.rglob("*.py"))
# What takes longer to import than most steps do: Prefect, and those of our files that need it or
# speak HTTP themselves.
SLOW = ("prefect", "server.api", "server.latency", "server.proof", "flow", "flow_shown")


def own_name(path: Path) -> str:
    return ".".join(path.relative_to(ENGINE).with_suffix("").parts)


def room(name: str) -> str:
    return name.split(".")[0]


def imports(path: Path) -> Iterator[tuple[ast.ImportFrom, str]]:
    """Yield what a file imports of the engine: by its name from the engine's root on."""
    package = path.relative_to(ENGINE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        above = package[: len(package) - node.level + 1]
        base = ".".join((*above, *([node.module] if node.module else [])))
        for alias in node.names:
            inside = f"{base}.{alias.name}".removeprefix(".")
            known = (ENGINE / (inside.replace(".", "/") + ".py")).is_file()
            yield node, inside if known else base


@pytest.mark.parametrize("path", FILES, ids=own_name)
def test_a_file_imports_only_from_the_rooms_below_its_own(path: Path) -> None:
    own = room(own_name(path))
    if own == "__init__":
        return
    for node, name in imports(path):
        below = (
            ROOMS[: ROOMS.index(own) + 1] if path.parent != ENGINE else ROOMS[: ROOMS.index(own)]
        )
        assert room(name) in below, f"{path.name}:{node.lineno} imports {name}"


def test_every_file_and_folder_is_a_room() -> None:
    found = {path.stem for path in ENGINE.iterdir() if path.stem not in ("__init__", "__pycache__")}
    assert found == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=own_name)
def test_no_file_has_more_lines_than_can_be_kept_in_mind(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_files_do_not_import_each_other_in_a_circle() -> None:
    graph = {own_name(path): {name for _, name in imports(path)} for path in FILES}
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " imports ".join((*above, name))
        if name not in done:
            for other in graph.get(name, ()):
                walk(other, (*above, name))
            done.add(name)

    for name in graph:
        walk(name, ())


@pytest.mark.parametrize("path", FILES, ids=own_name)
def test_an_import_within_a_function_spares_a_slow_library_and_says_so(path: Path) -> None:
    text = path.read_text()
    lines = text.splitlines()
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names]
            where = f"{path.name}:{node.lineno}"
            assert any(name.startswith(SLOW) for name in names), where
            assert lines[node.lineno - 2].lstrip().startswith("#"), f"{where} does not say why"
