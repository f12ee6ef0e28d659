"""A rule that decides about nothing, or names what is not there, is a warning of one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from maintenance import clear, engine_for, request, run_step
from ruled_scene import RuledScene
from world import POLICY

from lab.environments import ROOT

RULES: list[dict[str, Any]] = [
    {"name": "etl", "flows": ["etl"], "keep": {"days": 1}},
    {"name": "again", "flows": ["e?l"], "states": ["COMPLETED"], "keep": {"days": 9}},
    {"name": "typo", "flows": ["etll*"], "keep": "forever"},
    {"name": "pools", "work_pools": ["k8s", "gp_"], "keep": {"last": 1}},
    {"tags": ["gdpr"], "except": {"deployments": ["etl/nightlyy", "nightly"]}, "keep": "forever"},
    {"name": "crashed", "flows": ["*"], "states": ["CRASHED"], "keep": {"days": 9}},
    {"name": "tags", "tags": ["gpdr", "a[b"], "deployments": ["*/*"], "keep": {"days": 9}},
]  # fmt: skip
SAID = [
    "rules: rule 2 (again) decides about no flow run: rules before it match all that it does",
    "rules: rule 3 (typo) matches no flow run: flows has 'etll*', which fits no flow",
    "rules: rule 4 (pools): work_pools has 'gp_', which fits no work pool",
    "rules: rule 5: except.deployments has 'etl/nightlyy', which fits no deployment",
    "rules: rule 6 (crashed) matches no flow run",
    "rules: rule 7 (tags) matches no flow run: tags has 'gpdr', which fits no tag of a run",
    "rules: rule 7 (tags) matches no flow run: tags has 'a[b', which fits no tag of a run",
]


@pytest.fixture
def scene(engine: sa.Engine) -> sa.Engine:
    """A database in which three of the rules above have something to decide."""
    made = RuledScene(POLICY)
    etl = made.flow("etl")
    nightly = made.deployment("nightly", flow=etl)
    made.run(20, flow_id=etl, deployment_id=nightly)
    made.run(20, work_queue_id=made.queue("k8s"))
    made.run(20, tags=["gdpr", "gpu"])
    made.event(20, "lab.run", "lab.1")
    made.put(engine)
    return engine


def warned(engine: sa.Engine, step: str, *, check: bool = True, **rules: Any) -> Sequence[str]:
    """Carry out a step, and return the warnings about rules."""
    report = run_step(step, request(engine, run_delete_via="sql", **rules), check=check).report
    return [text for text in report.warnings if "rules: rule" in text]


@pytest.mark.parametrize("check", [True, False])
def test_each_rule_that_is_probably_wrong_is_named_with_its_key(
    scene: sa.Engine, check: bool
) -> None:
    assert warned(scene, "delete", check=check, rules=RULES) == SAID


def test_the_report_names_what_is_not_there_before_anything_is_counted(scene: sa.Engine) -> None:
    told = warned(scene, "bloat_info", check=False, rules=RULES, what_if=True)
    named = [text for text in SAID if " has " in text]
    # On SQLite what would go is counted at once.
    assert told == (named if scene.dialect.name == "postgresql" else SAID)
    assert warned(scene, "bloat_info", rules=RULES, what_if=True) == SAID


def test_rules_that_decide_about_something_are_no_warning(scene: sa.Engine) -> None:
    sound = [{"flows": ["etl"], "keep": {"days": 90}}, {"tags": ["gdpr"], "keep": "forever"}]
    assert warned(scene, "delete", rules=sound) == []
    assert warned(scene, "delete", rules=[]) == []


def test_rules_for_events_and_logs_that_decide_about_nothing_are_named(scene: sa.Engine) -> None:
    told = warned(
        scene,
        "purge",
        event_rules=[
            {"events": ["lab.*"], "keep": {"days": 9}},
            {"name": "after it", "events": ["lab.run"], "keep": {"last": 1}},
        ],
        log_rules=[{"below": "INFO", "keep": {"days": 3}}],
    )
    ends = "it matches none, or rules before it match all that it does"
    assert told == [
        f"event_rules: rule 2 (after it) decides about no event: {ends}",
        f"log_rules: rule 1 decides about no log: {ends}",
    ]


def test_a_recipe_of_the_page_does_what_it_says(sqlite_database: str) -> None:
    engine, made = engine_for(sqlite_database), RuledScene(POLICY)
    recipe = (ROOT / "docs" / "rules.md").read_text().split("### 2.")[1]
    told = yaml.safe_load(recipe.split("```yaml")[1].split("```")[0])
    nightly = made.deployment("nightly")
    made.run(99, deployment_id=nightly)
    for days in range(60, 80):
        made.run(days, deployment_id=nightly, state_type="FAILED")
    made.run(29, deployment_id=made.deployment("young"))
    made.run(20)
    clear(engine)
    made.put(engine)
    rules = told["prefect_maintenance_rules"]
    report = run_step("delete", request(engine, rules=rules, run_delete_via="sql"), check=True)
    # Ten of the failures are not among the last ten; the run without a deployment is 20 days old.
    assert report.report.deleted["flow_run"] == 10 + 1
    found = {one.name: (one.rows, one.kept) for one in report.report.plan.rules}
    assert found == {"always the last ten": (10, 12), "the general policy": (1, 0)}
    engine.dispose()
