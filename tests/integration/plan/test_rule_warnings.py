"""A rule that decides about nothing, or names what is not there, is a warning of one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import request, run_step
from ruled_scene import RuledScene
from world import POLICY

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
