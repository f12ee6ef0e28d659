"""docs/rules.md, and the inventories that are shown: every rule in them is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect_maintenance.request.options import REQUEST
from prefect_maintenance.request.policy import Policy, parse_policy

from lab.environments import ROOT

PREFIX = "prefect_maintenance_"
PAGE = (ROOT / "docs" / "rules.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
RECIPES = re.split(r"\n### ", PAGE)[1:]
INVENTORIES = [
    path for path in sorted((ROOT / "inventories").rglob("*.yml")) if "rules" in path.read_text()
]


def policy_of(variables: dict[str, Any]) -> Policy:
    """Read variables of the role as the engine does; each of them must be a part of a policy."""
    told = {name.removeprefix(PREFIX): value for name, value in variables.items()}
    assert set(told) <= set(REQUEST)
    return parse_policy(told)


def rules_in(found: Any) -> list[dict[str, Any]]:
    """Return the variables with rules, wherever in an inventory they stand."""
    if not isinstance(found, dict):
        return []
    own = {name: value for name, value in found.items() if str(name).endswith("rules")}
    return [*([own] if own else []), *(one for value in found.values() for one in rules_in(value))]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_rules_of_the_page_are_rules(block: str) -> None:
    policy = policy_of(yaml.safe_load(block))
    assert policy.rules or policy.event_rules or policy.log_rules


def test_there_are_eight_recipes_and_each_says_what_it_keeps_and_what_not() -> None:
    assert [recipe.split(".")[0] for recipe in RECIPES] == [str(n) for n in range(1, 9)]
    for recipe in RECIPES:
        [block] = re.findall(r"```yaml\n(.*?)```", recipe, re.S)
        assert 3 <= block.count("\n") <= 12
        assert "**Keeps** " in recipe
        assert re.search(r"\*\*Does not keep\*\*\s", recipe)


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: path.name)
def test_the_rules_of_the_example_inventories_are_rules(path: Path) -> None:
    found = rules_in(yaml.safe_load(path.read_text()))
    assert found
    for variables in found:
        policy_of(variables)


def test_more_than_one_example_inventory_shows_rules() -> None:
    assert len({path.relative_to(ROOT / "inventories").parts[0] for path in INVENTORIES}) > 1
