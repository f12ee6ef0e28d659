"""Who writes no rules gets the plans of the releases before rules, byte for byte.

The files were written by the last revision whose engine read no rules; they are not to be written
anew because of one.
"""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from golden import Golden, as_text
from maintenance import fill, request, run_step
from world import NOW, SAME, Policy

# The old variables, in words that they always had.
POLICIES = {
    "same": Policy(NOW, SAME),
    "states": Policy(NOW, {**SAME, "logs": 40, "artifacts": 3}, ("COMPLETED", "CRASHED")),
}
NOTHING: dict[str, Any] = {"rules": [], "event_rules": [], "log_rules": []}


def plans(engine: sa.Engine, policy: Policy, **more: Any) -> str:
    """Check both steps; returns their joined plan as the report has it, and each by itself."""
    report: dict[str, Any] = {}
    told = []
    for step in ("purge", "delete"):
        asked = request(engine, policy, run_delete_via="sql", report=report, **more)
        report = run_step(step, asked, check=True).report.as_json()
        told.append({"step": step, "plan": report["plan"], "deleted": report["deleted"]})
        told[-1]["kept"] = report["kept"]
    return as_text(told)


@pytest.mark.parametrize("name", POLICIES)
def test_the_plan_of_old_variables_is_that_of_the_release_before_rules(
    engine: sa.Engine, golden: Golden, name: str
) -> None:
    fill(engine, POLICIES[name], seed=21, size=90)
    # An autovacuum of the tests before may have left numbers of other rows.
    with engine.begin() as connection:
        connection.execute(sa.text("ANALYZE"))
    told = plans(engine, POLICIES[name])
    golden.check(f"before_rules/{engine.dialect.name}/{name}.json", told)
    assert plans(engine, POLICIES[name], **NOTHING) == told
    assert plans(engine, POLICIES[name], **NOTHING, hold_tags=[]) == told
