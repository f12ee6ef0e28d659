"""Random rules over random worlds: the rows that go are those that the oracle names.

`make worlds SEEDS=500` tries many more than the few that stand here, and SEEDS=500-900 others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import engine_for, fill, request, run_step
from oracle import compare, counted, survivors
from random_rules import random_policy
from world import AROUND, TABLES, Policy, dump

SEEDS = range(*map(int, os.environ.get("WORLDS", "6").split("-")))


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def world_engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[sa.Engine]:
    """One database for all worlds, which each of them clears."""
    if request.param == "sqlite":
        source = request.getfixturevalue("migrated_file")
        copied = tmp_path_factory.mktemp("worlds") / "prefect.db"
        copied.write_bytes(source.read_bytes())
        engine = engine_for(f"sqlite:///{copied}")
        yield engine
    else:
        cluster, template = map(request.getfixturevalue, ("cluster", "template"))
        engine = engine_for(cluster.create_database("worlds", template))
        yield engine
        cluster.drop_database("worlds")
    engine.dispose()


def carried_out(engine: sa.Engine, policy: Policy, strategy: str, *, check: bool) -> dict[str, Any]:
    """Purge and delete, or only say what that would do; returns the report."""
    report: dict[str, Any] = {}
    for step in ("purge", "delete"):
        more = {"run_delete_via": "sql", "purge_strategy": strategy, "report": report}
        report = run_step(step, request(engine, policy, **more), check=check).report.as_json()
    return report


def agree(engine: sa.Engine, policy: Policy, seed: int, strategy: str) -> None:
    """Fail where the engine and the oracle differ about a row, or a check about a number."""
    fill(engine, policy, seed=seed)
    before = dump(engine, (*AROUND, *TABLES))
    wanted = survivors(before, policy)
    foretold = carried_out(engine, policy, strategy, check=True)
    assert dump(engine, (*AROUND, *TABLES)) == before, "a check changed a row"

    report = carried_out(engine, policy, strategy, check=False)
    left = dump(engine)
    compare(left, wanted)
    gone = {table: len(before[table]) - len(left[table]) for table in TABLES}
    assert {table: report["deleted"].get(table, 0) for table in TABLES} == gone
    assert {table: foretold["deleted"].get(table, 0) for table in TABLES} == gone

    told = foretold["plan"].get("rules", [])
    rules = {(r["kind"], r["number"]): (r["rows"], r["kept"]) for r in told if r["kind"] != "log"}
    assert rules == counted(before, policy)

    again = carried_out(engine, policy, strategy, check=False)
    assert {table: rows for table, rows in again["deleted"].items() if rows} == {}
    assert dump(engine) == left, "the second run changed a row"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rows_that_go_are_those_of_the_rules(world_engine: sa.Engine, seed: int) -> None:
    agree(world_engine, random_policy(seed), seed, ("delete", "rewrite")[seed % 2])
