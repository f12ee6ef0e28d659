"""The form of the flow shows rules as the engine reads them, and leaves the judgement to it."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from prefect_maintenance import flow
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.request.policy import parse_policy
from prefect_maintenance.request.rules import FOREVER, KINDS, LEVELS, TERMINAL_STATES

SCHEMA = flow.parameter_schema()
DEFINITIONS: dict[str, Any] = SCHEMA["definitions"]
OF = {"rules": "RunRule", "event_rules": "EventRule", "log_rules": "LogRule"}
EXAMPLES = [(option, rule) for option, kind in OF.items() for rule in DEFINITIONS[kind]["examples"]]
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("rules", {"flow": ["a"], "keep": {"days": 1}}, "rules: 'flow' of rule 1 is unknown"),
    ("rules", {"flows": ["a"], "keep": {"last": 0}}, "rules: keep.last of rule 1 must be"),
    ("event_rules", {"keep": {"days": 1}}, "event_rules: a match of rule 1 is missing"),
    ("log_rules", {"below": "LOUD", "keep": {"days": 1}}, "log_rules: below of rule 1 must be"),
]  # fmt: skip


def offered(kind: str, key: str) -> list[Any]:
    """Return the words from which a field of the form lets choose."""
    field = DEFINITIONS[kind]["properties"][key]
    return [
        word
        for one in field.get("anyOf", [field])
        for part in (one, one.get("items", {}))
        for word in (*part.get("enum", ()), *([part["const"]] if "const" in part else ()))
    ]


@pytest.mark.parametrize(("option", "kind"), OF.items())
def test_a_list_of_rules_is_shown_field_by_field(option: str, kind: str) -> None:
    assert SCHEMA["properties"][option]["items"] == {"$ref": f"#/definitions/{kind}"}
    told = DEFINITIONS[kind]["properties"]
    assert all(field.get("description") for field in told.values())
    assert all(field.get("examples") for name, field in told.items() if name not in (
        "except", "keep", "logs"))  # fmt: skip


def test_the_form_offers_the_words_that_the_engine_knows() -> None:
    for kind in ("RunRule", "Runs"):
        assert offered(kind, "states") == list(TERMINAL_STATES)
    assert offered("LogRule", "below") == list(LEVELS)
    assert set(DEFINITIONS["Runs"]["properties"]) == set(KINDS)
    assert set(DEFINITIONS["RunRule"]["properties"]) == {"name", *KINDS, "except", "keep", "logs"}
    assert [offered(kind, "keep") for kind in OF.values()] == [[FOREVER]] * 3


@pytest.mark.parametrize(("option", "rule"), EXAMPLES)
def test_an_example_of_the_form_is_a_rule(option: str, rule: dict[str, Any]) -> None:
    whole = {**SCHEMA, **DEFINITIONS[OF[option]]}
    assert list(Draft202012Validator(whole).iter_errors(rule)) == []
    parse_policy({option: [rule]})
    for key in rule:
        assert key in DEFINITIONS[OF[option]]["properties"]


@pytest.mark.parametrize(("option", "rule", "said"), WRONG)
def test_what_is_wrong_with_a_rule_is_said_by_the_engine_in_one_line(
    option: str, rule: dict[str, Any], said: str
) -> None:
    taken = {option: flow.maintenance.validate_parameters({option: [rule]})[option]}
    with pytest.raises(SettingsError) as refused:
        parse_policy(taken)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_a_field_that_is_left_empty_is_as_if_it_were_not_there() -> None:
    empty = {"name": None, "flows": ["a"], "except": None, "logs": None,
             "keep": {"days": 3, "last": None}}  # fmt: skip
    taken = {"rules": flow.maintenance.validate_parameters({"rules": [empty]})["rules"]}
    [rule] = parse_policy(taken).rules
    assert parse_policy({"rules": [{"flows": ["a"], "keep": {"days": 3}}]}).rules == (rule,)
