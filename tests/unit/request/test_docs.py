"""What `make docs` writes follows from the table of options, and from it alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prefect_maintenance.request.options import GROUPS, OPTIONS, WHOLE, Group, Option, of_module
from tools import as_list

from lab import docs
from lab.environments import ROOT

MODULES = sorted(path.stem for path in (docs.ROLE / "library").glob("*.py"))
PAGES = docs.pages()
NEW = Option(
    "max_rows",
    "int",
    "Refuse a plan that deletes more rows; V(0) is no limit.",
    default=7654,
    bounds=(0, 4321),
    modules=("prefect_db_purge", "prefect_api_delete"),
    entries=WHOLE,
    flow=True,
    common=True,
)
IN_MODULE = r"""
  max_rows:
    description:
      - Refuse a plan that deletes more rows; V(0) is no limit.
      - It is 0 or more, at most 4321.
    type: int
    default: 7654
"""
IN_SPECS = r"""
      prefect_maintenance_max_rows:
        description:
          - Refuse a plan that deletes more rows; V(0) is no limit.
          - It is 0 or more, at most 4321.
        type: int
        default: 7654
"""
IN_TABLE = (
    "\n| `prefect_maintenance_max_rows` | `7654` | Refuse a plan that deletes more rows; `0` is no "
    "limit. It is 0 or more, at most 4321. |\n"
)


def with_new(*more: Option) -> list[Group]:
    """Return the table with rows added to its group of what goes, and when."""
    [at] = [n for n, group in enumerate(GROUPS) if group.title == "What goes, and when"]
    grown = replace(GROUPS[at], options=(*GROUPS[at].options, *more))
    return [*GROUPS[:at], grown, *GROUPS[at + 1 :]]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_follows_from_the_table_is_written(path: Path) -> None:
    assert PAGES[path] == path.read_text(), "run: make docs"


OF_EVERY_KIND = (
    NEW,
    Option("rules", "list", "A: b # c", default=(), elements="dict"),
    Option("hold_tags", "list", "- d", default=("keep", "keep-until:*", "no", "a, b", "{e}")),
    Option("stuck", "dict", "'e'", secret=True),
    Option("archive_dir", "path", '[f] 100% "g"', more=("* h", "@i")),
    Option("max_lock", "float", "Seconds.", default=1.0, bounds=(0, 60), excluded=True),
    Option("html", "bool", "Whether.", default=True),
    Option("switch", "str", "Null.", default="off", choices=("on", "off", "3.10")),
    Option("long", "str", "Word " * 60 + "- end: it.", choices=tuple("choices" * 9)),
)


def test_every_kind_of_option_is_read_as_it_was_meant() -> None:
    rows = [replace(o, modules=("prefect_db_role",), entries=WHOLE) for o in OF_EVERY_KIND]
    pages = docs.pages(with_new(*rows))
    text = pages[docs.ROLE / "library" / "prefect_db_role.py"]
    documented = yaml.safe_load(text.split('"""')[1])["options"]
    spec = next(
        ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword) and node.arg == "argument_spec"
    )
    defaults = yaml.safe_load(pages[docs.DEFAULTS])
    variables = yaml.safe_load(pages[docs.SPECS])["argument_specs"]["main"]["options"]
    for row in rows:
        said, rules = documented[row.name], spec[row.name]
        sentences = said["description"]
        assert row.says in (sentences, sentences[0])
        assert rules.pop("no_log", False) is row.secret
        assert rules == {key: value for key, value in said.items() if key != "description"}
        assert rules.get("default") == as_list(row.default)
        assert rules.get("choices", []) == list(row.choices)
        variable = f"prefect_maintenance_{row.name}"
        assert defaults[variable] == variables[variable]["default"]
        assert (defaults[variable] or None) == (as_list(row.default) or None)
    assert formatted(text) == text
    for path in (docs.DEFAULTS, docs.SPECS):
        assert max(map(len, pages[path].splitlines())) <= 100
    assert max(map(len, text.splitlines())) <= 100


def formatted(text: str) -> str:
    command = [
        str(Path(sys.executable).parent / "ruff"),
        "format",
        "--config",
        str(ROOT / "pyproject.toml"),
        "-",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_what_was_changed_by_hand_is_written_anew(name: str) -> None:
    text = (docs.ROLE / "library" / f"{name}.py").read_text()
    changed = re.sub(r"(?m)^    type: .*$|^ {12}\".*$", "    by hand: 1", text)
    assert changed != text
    assert docs.module(changed, of_module(name)) == text


def test_a_mark_that_is_gone_is_an_error_and_no_empty_file() -> None:
    with pytest.raises(ValueError, match="there is no"):
        docs.module("DOCUMENTATION = 1\n", of_module("prefect_db_purge"))


def test_a_new_row_stands_in_every_text_for_those_who_take_it() -> None:
    pages = docs.pages(with_new(NEW))
    for name in MODULES:
        taken = name in NEW.modules
        text = pages[docs.ROLE / "library" / f"{name}.py"]
        assert (IN_MODULE in text) is taken
        assert ('\n            "max_rows": {"type": "int", "default": 7654},\n' in text) is taken
    assert "\nprefect_maintenance_max_rows: 7654\n" in pages[docs.DEFAULTS]
    assert IN_SPECS in pages[docs.SPECS]
    for entry, spec in yaml.safe_load(pages[docs.SPECS])["argument_specs"].items():
        assert ("prefect_maintenance_max_rows" in spec["options"]) is (entry in WHOLE), entry
    assert IN_TABLE in pages[docs.README]
    assert IN_TABLE in pages[docs.VARIABLES]
    assert (
        "\n- `max_rows`: Refuse a plan that deletes more rows; 0 is no limit.\n"
        in (pages[docs.VARIABLES])
    )


def test_a_row_that_few_people_set_is_not_in_the_readme() -> None:
    pages = docs.pages(with_new(replace(NEW, common=False)))
    assert "| `prefect_maintenance_max_rows` |" not in pages[docs.README]
    assert 10 <= sum(option.common for option in OPTIONS) <= 14


def test_a_survey_offers_the_choices_and_bounds_of_the_table() -> None:
    text = (docs.SURVEYS / "maintain.yml").read_text()
    rows = {option.name: option for option in OPTIONS}
    vacuum = replace(rows["survey_vacuum"], known=("auto", "compact"))
    days = replace(rows["survey_retention_days"], bounds=(2, 99))
    changed = docs.survey(text, [*OPTIONS, vacuum, days])
    questions = yaml.safe_load(changed)["job_template"]["survey_spec"]["spec"]
    asked = {question["variable"]: question for question in questions}
    assert asked["prefect_maintenance_survey_vacuum"]["choices"] == ["auto", "compact"]
    answer = asked["prefect_maintenance_survey_retention_days"]
    assert (answer["min"], answer["max"]) == (2, 99)
    assert len(changed.splitlines()) == len(text.splitlines())
