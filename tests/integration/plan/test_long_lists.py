"""Planning does not go through a long list again for each row.

PostgreSQL does that with a list beside OR, or behind NOT IN, once it outgrows work_mem: what takes
a second with a hundred thousand subflows takes hours with three times as many.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from maintenance import run_step
from statements import heard

from benchmarks.plan_backlog import fill, fill_events
from lab.postgres import Postgres

RUNS = 6000
RULES: dict[str, dict[str, Any]] = {
    "without rules": {"hold_tags": []},
    "many held": {"hold_tags": ["prod"]},
    "ranks": {
        "hold_tags": ["prod"],
        "rules": [
            {"deployments": ["*"], "keep": {"last": 100}, "logs": {"days": 30}},
            {"flows": ["*"], "keep": {"last_success": 1}},
        ],
        "log_rules": [{"below": "INFO", "keep": {"days": 60}}],
        "event_rules": [{"events": ["lab.type-1*"], "keep": {"last": 1}}],
    },
}


@pytest.fixture(scope="module")
def small_memory(cluster: Postgres, template: str) -> str:
    """A database with many runs, half of them subflows, and little memory for each list of them."""
    url = cluster.create_database("long_lists", template)
    fill(cluster, "long_lists", runs=RUNS, links=RUNS // 2, logs=RUNS)
    fill_events(cluster, "long_lists", RUNS)
    cluster.execute("VACUUM ANALYZE", "long_lists")
    for setting in ("work_mem = '64kB'", "hash_mem_multiplier = 1"):
        cluster.execute(f"ALTER DATABASE long_lists SET {setting}")
    return url


@pytest.mark.parametrize("rules", RULES)
def test_no_list_is_gone_through_again_for_each_row(small_memory: str, rules: str) -> None:
    explained: list[str] = []
    again: list[str] = []

    def explain(cursor: Any, statement: str, values: Any) -> None:
        if statement.split(None, 1)[0].upper() not in ("SELECT", "INSERT", "WITH", "DELETE"):
            return
        cursor.execute(f"EXPLAIN {statement}", values or None)
        explained.append(statement)
        lines = [row[0].strip() for row in cursor.fetchall()]
        if any(
            line.startswith("SubPlan") and below.startswith("->  Materialize")
            for line, below in pairwise(lines)
        ):
            again.append(statement)

    asked = {"db_url": small_memory, "run_delete_via": "sql", "retention_days": 45, **RULES[rules]}
    with heard(explain):
        for step in ("bloat_info", "purge", "delete"):
            run_step(step, asked, check=True)
    assert again == []
    assert len(explained) > 50
