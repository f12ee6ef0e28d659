"""How a plan that was kept compares with what a run finds later."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from prefect_maintenance.plan.plan import Plan
from prefect_maintenance.plan.rule_counts import RuleCount
from prefect_maintenance.plan.saved import OLDEST, Circumstances, document, drift, over
from prefect_maintenance.request.as_written import decides, differences
from prefect_maintenance.request.saved_plan import SavedPlan, parse_saved_plan
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.request.version import VERSION

from lab.environments import ROOT

MADE = datetime(2026, 6, 30, 12, tzinfo=UTC)
FOUND = Circumstances("demo", "SQLite /a", "r", MADE, {"states": ["FAILED"]})


def count_of(rows: int, number: int = 1) -> RuleCount:
    return RuleCount("run", number, "nightly" if number else "the rest", rows, None, None, None, 0)


def kept(rows: dict[str, int], *rules: RuleCount) -> SavedPlan:
    told = document(Plan(rows=rows, rules=rules), FOUND, MADE, "")
    saved = parse_saved_plan({"saved_plan": told})
    assert saved is not None
    return saved


@pytest.mark.parametrize(
    ("then", "now", "percent", "allowed"),
    [
        (100, 110, 10, True),
        (100, 111, 10, False),
        (100, 0, 0, True),
        (100, 100, 0, True),
        (100, 101, 0, False),
        (0, 1, 1000, False),
        (3, 4, 10, False),
    ],
)
def test_a_table_may_lose_so_many_percent_more_and_any_number_less(
    then: int, now: int, percent: int, allowed: bool
) -> None:
    told = drift(kept({"log": then}), FOUND, {"log": now}, (), percent, MADE)
    said = f"log: {then} rows then, {now} now, more than plan_drift {percent} % allows"
    assert told == ("" if allowed else said)


@pytest.mark.parametrize(("now", "allowed"), [(30, True), (31, False), (0, True)])
def test_a_rule_may_grow_in_proportion_to_all_rules(now: int, allowed: bool) -> None:
    saved = kept({}, count_of(20), count_of(80, 0))
    told = drift(saved, FOUND, {}, [count_of(now), count_of(80, 0)], 10, MADE)
    said = (
        f"run rule 1 'nightly': 20 rows then, {now} now, more than plan_drift 10 % of all 100 "
        "allows"
    )
    assert told == ("" if allowed else said)


def test_the_first_differences_are_named_and_the_others_counted() -> None:
    now = {f"t{n}": 1 for n in range(9)}
    told = drift(kept({}), FOUND, now, (), 10, MADE + OLDEST + timedelta(hours=1))
    parts = told.split("; ")
    assert parts[0] == "it is 30 days old, more than 30"
    assert parts[-1] == "and 4 more"
    assert len(parts) == 7


def test_a_run_without_a_name_of_its_host_is_not_asked_for_one() -> None:
    assert drift(kept({}), replace(FOUND, host=""), {}, (), 10, MADE) == ""
    assert drift(kept({}), replace(FOUND, host="b"), {}, (), 10, MADE) == "host was demo, is b"


def test_only_the_options_of_the_steps_so_far_are_compared() -> None:
    told = document(Plan(), replace(FOUND, policy={"a": 1, "b": 2}), MADE, "")
    saved = parse_saved_plan({"saved_plan": told})
    assert saved is not None
    assert drift(saved, replace(FOUND, policy={"a": 1}), {}, (), 10, MADE) == ""
    assert drift(saved, replace(FOUND, policy={"b": 3}), {}, (), 10, MADE) == "b was 2, is 3"


def test_the_cap_is_of_all_tables_together_and_nothing_is_none() -> None:
    rows = {"log": 1000, "flow_run": 2000, "artifact": 0}
    assert over(rows, 3000) == ""
    assert over(rows, 0) == ""
    assert over(rows, 2999) == (
        "3,000 rows would go, more than max_rows (2,999): flow_run 2,000, log 1,000"
    )


RULES: list[dict[str, Any]] = [
    {"deployments": ["etl/*", "b"], "keep": {"days": 30, "last": 10}, "logs": {"days": 3}},
    {"tags": ["gdpr"], "except": {"states": ["FAILED"]}, "keep": "forever"},
]


def asked(rules: list[dict[str, Any]]) -> dict[str, Any]:
    return decides("delete", Settings.parse({"rules": rules}, check=True))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ([{**RULES[0], "deployments": ["b", "etl/*"]}, RULES[1]], []),
        (
            [{**RULES[0], "keep": {"days": 20, "last": 10}}, RULES[1]],
            ["rules: rule 1 keep.days was 30, is 20"],
        ),
        (
            [RULES[0], {**RULES[1], "keep": {"days": 1}}],
            ['rules: rule 2 keep was forever, is {"days": 1}'],
        ),
        (
            [RULES[0], {"tags": ["gdpr"], "keep": "forever"}],
            ['rules: rule 2 except was {"states": ["FAILED"]}, is not there'],
        ),
        (
            [{key: RULES[0][key] for key in ("deployments", "keep")}, RULES[1]],
            ["rules: rule 1 logs was {\"days\": 3}, is not there"],
        ),
    ],
    ids=["in another order", "days", "forever", "except", "logs"],
)  # fmt: skip
def test_a_rule_that_differs_is_named_in_the_words_of_its_user(
    changed: list[dict[str, Any]], said: list[str]
) -> None:
    assert list(differences(asked(RULES), asked(changed))) == said


def test_each_step_speaks_of_the_options_that_are_its_own() -> None:
    before = Settings.parse({}, check=True)
    now = Settings.parse(
        {
            "stuck": {"LATE": 3},
            "run_delete_via": "sql",
            "purge_strategy": "delete",
            "archive_dir": "/a",
        },
        check=True,
    )
    found = {
        step: [*differences(decides(step, before), decides(step, now))]
        for step in ("purge", "delete", "vacuum")
    }
    archive = "archive_dir was not there, is /a"
    assert found == {
        "purge": ["purge_strategy was auto, is delete", archive],
        "delete": ["stuck.LATE was not there, is 3", "run_delete_via was auto, is sql", archive],
        "vacuum": [],
    }


def test_a_rule_that_came_or_went_is_named() -> None:
    [gone] = differences(asked(RULES), asked(RULES[:1]))
    assert gone.startswith("rules: rule 2 was {")
    assert gone.endswith(", is not there")
    [came] = differences(asked(RULES[:1]), asked(RULES))
    assert came.startswith("rules: rule 2 was not there, is {")


def test_the_version_of_a_plan_is_that_of_the_collection() -> None:
    assert yaml.safe_load((ROOT / "collection" / "galaxy.yml").read_text())["version"] == VERSION
