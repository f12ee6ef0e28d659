"""Options are one table, to which the engine and the flow are held."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import yaml
from prefect_maintenance import flow
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.request.options import OPTIONS, REQUEST, of_entry, of_flow, of_module
from prefect_maintenance.request.settings import Settings
from tools import as_list

from lab import docs
from lab.option_texts import plain

MODULES = sorted(path.stem for path in (docs.ROLE / "library").glob("*.py"))
ENTRIES = list(yaml.safe_load(docs.SPECS.read_text())["argument_specs"])


def test_the_flow_has_the_parameters_of_the_table() -> None:
    form = flow.parameter_schema()["properties"]
    assert list(form) == [option.name for option in of_flow()]
    for option in of_flow():
        field = form[option.name]
        assert field["description"] == plain(option.says)
        assert field.get("enum", []) == list(option.choices), option.name
        if option.type != "dict":
            assert field["default"] == as_list(option.default), option.name


def test_the_form_of_the_flow_has_the_bounds_of_the_table() -> None:
    schema = flow.parameter_schema()
    for option in of_flow():
        field = schema["properties"][option.name]
        least, most = ("exclusiveMinimum", "exclusiveMaximum") if option.excluded else (
            "minimum", "maximum")  # fmt: skip
        if option.type != "dict":
            assert bounds(field, least, most) == option.bounds, option.name
    days = schema["definitions"]["Retention"]["properties"]
    assert tuple(days) == REQUEST["retention"].known
    for field in days.values():
        assert bounds(field["anyOf"][0], "minimum", "maximum") == REQUEST["retention"].bounds
    states = schema["properties"]["states"]["items"]["enum"]
    assert tuple(states) == REQUEST["states"].known


def bounds(field: dict[str, Any], least: str, most: str) -> tuple[Any, Any] | None:
    return (field[least], field[most]) if least in field else None


def test_a_request_that_says_nothing_gets_the_defaults_of_the_table() -> None:
    # Without an address there is no API; where there has to be one, the module has a default.
    asked = {name: option.default for name, option in REQUEST.items() if name != "api_url"}
    now = "2026-11-25T00:00:00Z"
    said = Settings.parse({**asked, "reference_time": now}, check=True)
    assert Settings.parse({"reference_time": now}, check=True) == said
    assert said.limits.batch_size == REQUEST["batch_size"].default
    assert said.policy.states == REQUEST["states"].default


@pytest.mark.parametrize("name", [o.name for o in REQUEST.values() if o.bounds])
def test_the_engine_refuses_what_is_beyond_the_bounds_of_the_table(name: str) -> None:
    option = REQUEST[name]
    assert option.bounds is not None
    least, most = option.bounds
    inside = 0 if option.excluded else 1
    for value in (least - inside, most + inside):
        given = {"logs": value} if option.type == "dict" else value
        with pytest.raises(SettingsError, match=name):
            Settings.parse({name: given}, check=True)


@pytest.mark.parametrize("name", [o.name for o in REQUEST.values() if o.choices])
def test_the_engine_takes_the_choices_of_the_table_and_no_other(name: str) -> None:
    option = REQUEST[name]
    for word in option.choices:
        Settings.parse({name: [word] if option.type == "list" else word}, check=True)
    with pytest.raises(SettingsError, match=", ".join(option.choices)):
        Settings.parse({name: ["x"] if option.type == "list" else "x"}, check=True)


def test_nobody_takes_two_options_of_one_name() -> None:
    takers = [*map(of_module, MODULES), *map(of_entry, ENTRIES), of_flow()]
    for taken in takers:
        assert max(Counter(option.name for option in taken).values(), default=1) == 1


def test_every_option_is_taken_by_somebody_who_is_there() -> None:
    for option in OPTIONS:
        assert option.modules or option.entries or option.flow, option.name
        assert set(option.modules) <= set(MODULES)
        assert set(option.entries) <= set(ENTRIES)


def test_every_sentence_is_whole_and_speaks_of_options_that_its_readers_have() -> None:
    for option in OPTIONS:
        for sentence in (option.says, *option.more, *option.in_modules, *option.in_role):
            assert re.fullmatch(r"(\w\(|[A-Z]).*\.", sentence), sentence
        for name in option.modules:
            said = (option.says, *option.more, *option.in_modules)
            assert mentioned(*said) <= {other.name for other in of_module(name)}, option.name
        if option.entries:
            said = (option.says, *option.more, *option.in_role)
            assert mentioned(*said) <= {other.name for other in of_entry("main")}, option.name


def mentioned(*sentences: str) -> set[str]:
    return {name for text in sentences for name in re.findall(r"\bO\((\w+)", text)}


def test_a_secret_of_the_role_is_never_converted_so_that_ansible_prints_it_nowhere() -> None:
    for option in OPTIONS:
        if option.secret and option.type != "dict":
            assert (option.type, option.choices, option.known) == ("str", (), ())


def test_the_table_needs_nothing_but_python() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(docs.ROLE / 'module_utils')!r}); "
        "from prefect_maintenance.request import settings, options"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
