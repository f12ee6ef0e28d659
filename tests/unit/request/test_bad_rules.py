"""What is wrong with a rule is said in one line, with the rule's name or number and the key."""

from __future__ import annotations

from typing import Any

import pytest
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.request.options.retention import MOST_PATTERNS, MOST_RULES
from prefect_maintenance.request.rules import EventRule, Keep, LogRule, Match, RunRule
from prefect_maintenance.request.settings import Settings

DAYS = {"days": 3}


def rule(**said: Any) -> dict[str, Any]:
    """Write a good rule for flow runs, then say otherwise."""
    return {"name": "nightly", "states": ["FAILED"], "keep": DAYS, **said}


def unless(**said: Any) -> dict[str, Any]:
    return rule(states=["FAILED", "CRASHED"], **{"except": said})


def refusal(option: str, told: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        Settings.parse({option: told}, check=True)
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 300
    assert text.startswith(option)
    return text


# A rule for flow runs; the key as the text names it; what is said of it.
RULES = [
    (rule(keeps=1), "'keeps'", "is unknown; known are name, deployments"),
    (rule(**{"k\ney": 1}), "'k\\ney'", "is unknown"),
    ({"name": "nightly", "keep": DAYS}, "a match", "is missing; give one of deployments, flows"),
    ({"name": "nightly", "except": {"tags": ["a"]}, "keep": DAYS}, "a match", "is missing"),
    (rule(tags=[]), "tags", "must be a list with a pattern or more, not []"),
    (rule(tags=None), "tags", "must be a list with a pattern or more, not None"),
    (rule(tags="gdpr"), "tags", "must be a list with a pattern or more, not 'gdpr'"),
    (rule(flows={"etl": 1}), "flows", "must be a list with a pattern or more"),
    (rule(tags=["a"] * (MOST_PATTERNS + 1)), "tags", "201 patterns; write at most 200"),
    (rule(tags=["a", 1]), "tags", "has the pattern 1, which is no text"),
    (rule(tags=["a", ""]), "tags", "has the pattern '', which is empty"),
    (rule(tags=["a\0b"]), "tags", "'a\\x00b', which has a character that cannot be shown"),
    (
        rule(work_pools=["a\nb"]),
        "work_pools",
        "'a\\nb', which has a character that cannot be shown",
    ),
    (rule(flows=["x" * 1001]), "flows", "is longer than 1000 characters"),
    (rule(deployments=["a/b/c"]), "deployments", "more than one '/'"),
    (rule(deployments=["etl/"]), "deployments", "nothing before or after its '/'"),
    (rule(deployments=["/nightly"]), "deployments", "nothing before or after its '/'"),
    (rule(states=["RUNNING"]), "states", "'RUNNING', which is no terminal state; terminal are"),
    (rule(states=["failed"]), "states", "'failed', which is no terminal state"),
    (rule(states=["FAIL*"]), "states", "'FAIL*', which is no terminal state"),
    ({"name": "nightly", "tags": ["a"]}, "keep", "is missing; it must be forever or map days"),
    (rule(keep=None), "keep", "must be forever or map days, last, last_success, last_failure"),
    (rule(keep={}), "keep", "must be forever or map days"),
    (rule(keep=30), "keep", "must be forever or map days"),
    (rule(keep=["forever"]), "keep", "must be forever or map days"),
    (rule(keep="forver"), "keep", "not 'forver'"),
    (rule(keep={"forever": True}), "keep.forever", "is no clause; write keep: forever"),
    (rule(keep={"lasst": 3}), "keep.lasst", "is unknown; known are days, last"),
    (rule(keep={"last": 0}), "keep.last", "whole number, 1 or more, at most 1000000, not 0"),
    (rule(keep={"last": -1}), "keep.last", "1 or more"),
    (rule(keep={"last": True}), "keep.last", "not True"),
    (rule(keep={"last": "ten"}), "keep.last", "not 'ten'"),
    (rule(keep={"days": 0}), "keep.days", "1 or more, at most 36500, not 0"),
    (rule(keep={"days": 36501}), "keep.days", "1 or more, at most 36500"),
    (rule(keep={"days": 1.5}), "keep.days", "not 1.5"),
    (rule(keep={"last_success": 1}), "keep.last_success", "states has no COMPLETED"),
    (rule(states=["COMPLETED"], keep={"last_failure": 1}), "keep.last_failure", "no FAILED or CR"),
    (rule(logs=None), "logs", "must be forever or map days to numbers, not None"),
    (rule(logs={"last": 3}), "logs.last", "is unknown; known are days"),
    (rule(logs={"days": 0}), "logs.days", "1 or more"),
    (rule(**{"except": {}}), "except", "must map deployments, flows, tags, work_pools, states"),
    (rule(**{"except": ["a"]}), "except", "must map deployments"),
    (unless(tag=["a"]), "except.tag", "is unknown; known are deployments, flows, tags"),
    (unless(tags="a"), "except.tags", "must be a list with a pattern or more"),
    (unless(tags=None), "except.tags", "must be a list with a pattern or more"),
    (unless(states=["RUNNING"]), "except.states", "no terminal state"),
    (unless(states=["CRASHED"]), "except.states", "has 'CRASHED', which takes back 'CRASHED'"),
    (rule(tags=["a_b"], **{"except": {"tags": ["a?*"]}}), "except.tags", "takes back 'a_b'"),
    (
        rule(deployments=["etl/nightly"], **{"except": {"deployments": ["night*"]}}),
        "except.deployments",
        "has 'night*', which takes back 'etl/nightly'",
    ),
]


@pytest.mark.parametrize(("told", "key", "said"), RULES, ids=[f"{k}: {s}" for _, k, s in RULES])
def test_a_bad_rule_is_refused_by_its_name_and_the_key(
    told: dict[str, Any], key: str, said: str
) -> None:
    text = refusal("rules", [rule(name="good"), told])
    assert text.startswith(f"rules: {key} of rule 2 (nightly) ")
    assert said in text


OTHERS = [
    ("event_rules", {"keep": DAYS}, "a match", "give one of events, resources"),
    ("event_rules", {"event": ["e"], "keep": DAYS}, "'event'", "known are name, events"),
    ("event_rules", {"events": "e", "keep": DAYS}, "events", "must be a list"),
    ("event_rules", {"resources": [], "keep": DAYS}, "resources", "must be a list"),
    ("event_rules", {"events": ["e"]}, "keep", "is missing; it must be forever or map days, last"),
    ("event_rules", {"events": ["e"], "keep": {"last": 0}}, "keep.last", "1 or more"),
    ("event_rules", {"events": ["e"], "keep": {"last_success": 1}}, "keep.last_success", "unkn"),
    ("log_rules", {"keep": DAYS}, "a match", "give one of below, loggers"),
    ("log_rules", {"below": "INFOO", "keep": DAYS}, "below", "DEBUG, INFO, WARNING, ERROR, CRIT"),
    ("log_rules", {"below": 0, "keep": DAYS}, "below", "not 0"),
    ("log_rules", {"below": True, "keep": DAYS}, "below", "not True"),
    ("log_rules", {"below": ["INFO"], "keep": DAYS}, "below", "must be one of DEBUG"),
    ("log_rules", {"below": "INFO", "keep": {"last": 2}}, "keep.last", "known are days"),
    ("log_rules", {"loggers": ["a\x1b[0m"], "keep": DAYS}, "loggers", "cannot be shown"),
    ("log_rules", {"level": "INFO", "keep": DAYS}, "'level'", "known are name, below, loggers"),
]


@pytest.mark.parametrize(("option", "told", "key", "said"), OTHERS)
def test_a_bad_rule_without_a_name_is_refused_by_its_number(
    option: str, told: dict[str, Any], key: str, said: str
) -> None:
    text = refusal(option, [told])
    assert text.startswith(f"{option}: {key} of rule 1 ")
    assert said in text


@pytest.mark.parametrize("name", [5, " ", "a\nb", "a\0", "x" * 101, ["a"]])
def test_a_name_that_cannot_stand_in_a_line_is_refused_by_the_rules_number(name: Any) -> None:
    assert refusal("rules", [rule(name=name)]).startswith("rules: name of rule 1 must be a short")


def test_a_name_may_stand_only_once() -> None:
    text = refusal("rules", [rule(), rule(name="other"), rule()])
    assert text == (
        "rules: name of rule 3 (nightly) is the name of an earlier rule too; give it another"
    )


@pytest.mark.parametrize("option", ["rules", "event_rules", "log_rules"])
@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("states", "must be a list of rules, not 'states'"),
        (rule(), "must be a list of rules, not {"),
        (7, "must be a list of rules, not 7"),
        ([rule()] * 1000, f"has 1000 rules; write at most {MOST_RULES}"),
        (["keep"], "rule 1 must map keys to values, not 'keep'"),
        ([[]], "rule 1 must map keys to values, not []"),
    ],
)
def test_what_is_no_list_of_rules_is_refused(option: str, told: Any, said: str) -> None:
    assert said in refusal(option, told)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("keep", "must be a list, e.g. [keep, 'hold:*'], not 'keep'"),
        ({"keep": 1}, "must be a list"),
        (["keep", ""], "has the pattern '', which is empty"),
        ([3], "has the pattern 3, which is no text"),
        (["a\n"], "has the pattern 'a\\n', which has a character that cannot be shown"),
        (["a"] * 201, "has 201 patterns; write at most 200"),
    ],
)
def test_bad_hold_tags_are_refused(told: Any, said: str) -> None:
    assert said in refusal("hold_tags", told)


def test_what_is_left_out_may_be_named_by_the_rule_where_more_has_to_fit() -> None:
    told = rule(flows=["etl", "web"], **{"except": {"flows": ["etl"], "tags": ["x"]}})
    parsed = Settings.parse({"rules": [told]}, check=True).policy.rules
    assert parsed[0].unless == Match(flows=("etl",), tags=("x",))


@pytest.mark.parametrize(
    ("named", "left_out"), [("a*", "ab"), ("*", "?"), ("a?", "ab"), ("[ab]", "a"), ("ab", "AB")]
)
def test_a_part_of_what_a_rule_names_may_be_left_out(named: str, left_out: str) -> None:
    told = rule(tags=[named], **{"except": {"tags": [left_out]}})
    parsed = Settings.parse({"rules": [told]}, check=True).policy.rules
    assert parsed[0].unless == Match(tags=(left_out,))


def test_long_patterns_with_many_wildcards_are_compared_at_once() -> None:
    told = rule(tags=["a" * 999], **{"except": {"tags": ["*a" * 499 + "b"]}})
    assert Settings.parse({"rules": [told]}, check=True).policy.rules


def test_good_rules_become_what_they_say() -> None:
    policy = Settings.parse(
        {
            "rules": [rule(logs="forever", keep={"days": "30", "last": 10})],
            "event_rules": [{"events": ["e*"], "keep": {"last": 3}}],
            "log_rules": [{"below": "info", "keep": DAYS}, {"loggers": ["x"], "keep": "forever"}],
            "hold_tags": [],
        },
        check=True,
    ).policy
    match = Match(states=("FAILED",))
    kept, always = Keep(days=30, last=10), Keep(forever=True)
    assert policy.rules == (RunRule(1, "nightly", match, Match(), kept, always),)
    assert policy.event_rules == (EventRule(1, "rule 1", ("e*",), (), Keep(last=3)),)
    assert policy.log_rules == (
        LogRule(1, "rule 1", 20, (), Keep(days=3)),
        LogRule(2, "rule 2", None, ("x",), always),
    )
    assert policy.hold_tags == ()
