"""The list of guards fits the tree, and what does not fit is named so that it is easy to mend."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lab.broken import Guard, Result
from lab.environments import ROOT
from lab.guards import mismatch, read, sample, table

GUARDS = read()
TREE = "def go(row):\n    if row.held:\n        return False\n    return row.old\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "engine.py").write_text(TREE)
    return tmp_path


HELD = Guard("held rows stay", "engine.py", "if row.held:", "if False:", ("tests/a.py::test_a",))


def test_every_text_stands_exactly_once_in_its_file() -> None:
    assert [told for guard in GUARDS if (told := mismatch(guard))] == []


def test_every_guard_is_broken_to_something_else_and_names_tests_that_there_are() -> None:
    assert len(GUARDS) >= 40
    for guard in GUARDS:
        assert guard.text != guard.broken, guard.name
        assert guard.tests, guard.name
        for test in guard.tests:
            file, name = re.fullmatch(r"(tests/\S+\.py)::(\w+)(?:\[.*\])?", test).groups()  # type: ignore[union-attr]
            assert f"def {name}(" in (ROOT / file).read_text(), f"{guard.name}: {test}"


def test_a_text_that_fits_is_no_fault(tree: Path) -> None:
    assert mismatch(HELD, tree) == ""


def test_a_text_that_was_changed_is_shown_with_the_closest_lines(tree: Path) -> None:
    told = mismatch(replace(HELD, text="if row.holds:"), tree)
    assert "engine.py has the text 0 times instead of once" in told
    assert "'if row.holds:'" in told
    assert "2: if row.held:" in told


def test_a_text_that_stands_twice_is_to_be_made_longer(tree: Path) -> None:
    told = mismatch(replace(HELD, text="return"), tree)
    assert "2 times instead of once" in told
    assert "make it longer" in told


def test_a_file_that_is_gone_is_named(tree: Path) -> None:
    assert "there is no file gone.py" in mismatch(replace(HELD, file="gone.py"), tree)


def test_a_sample_is_spread_over_the_quick_guards() -> None:
    guards = [replace(HELD, name=str(n), quick=n % 2 == 0) for n in range(20)]
    assert [guard.name for guard in sample(guards, 5)] == ["0", "4", "8", "12", "16"]
    assert len(sample(guards, 99)) == 10


def test_the_page_names_the_test_that_failed_or_none() -> None:
    kept = Result(HELD, 4.4, failed="tests/integration/a.py::test_a[x]")
    page = table([kept, Result(replace(HELD, broken="a | b"), 1.0, fault="its tests pass")])
    rows = [line for line in page.splitlines() if line.startswith("| held")]
    assert "for 1 of 2 broken guards" in page
    assert "`if row.held:` → `if False:` | `a.py::test_a[x]` | 4 |" in rows[0]
    assert "`a \\| b` | none | 1 |" in rows[1]
