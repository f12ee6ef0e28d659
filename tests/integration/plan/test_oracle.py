"""What must survive and what must go, decided by an oracle that shares no code with the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, fill, run_all
from oracle import compare, of_the_engine, survivors
from prefect_maintenance.run.outcome import Outcome
from random_rules import random_policy
from world import AROUND, NOW, SAME, TABLES, Dump, Policy, dump

from lab.server import PrefectServer

POLICIES = (
    Policy(NOW, SAME),
    Policy(NOW, {**SAME, "logs": 40, "artifacts": 3}, ("COMPLETED", "CRASHED")),
    Policy(NOW, {**SAME, "task_runs": 5, "logs": 2, "events": 30}),
)


@pytest.fixture(params=["postgresql", "sqlite"])
def server(request: pytest.FixtureRequest) -> PrefectServer:
    name = "shared_server" if request.param == "postgresql" else "shared_sqlite_server"
    found: PrefectServer = request.getfixturevalue(name)
    return found


@pytest.fixture
def engine(server: PrefectServer) -> Iterator[sa.Engine]:
    engine = engine_for(server.db_url)
    clear(engine)
    yield engine
    engine.dispose()


def ours(found: Dump) -> Dump:
    """Leave out the events that the running server makes by itself."""
    events = {i: r for i, r in found["events"].items() if not r["event"].startswith("prefect.")}
    resources = {i: r for i, r in found["event_resources"].items() if r["resource_role"] == "x"}
    return {**found, "events": events, "event_resources": resources}


BY_API = {"run_delete_via": "api", "purge_strategy": "delete"}
AS_IT_FITS = {"run_delete_via": "auto", "purge_strategy": "delete"}
# Worlds in which runs go that have no tags and nothing hanging on them, so that the API can.
RULED_BY_API = (0, 22)
BY_SQL = {"run_delete_via": "sql", "purge_strategy": "rewrite"}


@pytest.mark.parametrize("policy", POLICIES, ids=("same", "long logs", "short task runs"))
@pytest.mark.parametrize(
    ("seed", "ways"),
    [(0, BY_API), (1, BY_API), (2, AS_IT_FITS), (0, BY_SQL), (3, BY_SQL), (4, BY_SQL)],
    ids=lambda value: value["run_delete_via"] if isinstance(value, dict) else str(value),
)
def test_exactly_the_rows_of_the_contract_go_and_check_mode_foretold_their_number(
    server: PrefectServer,
    engine: sa.Engine,
    policy: Policy,
    seed: int,
    ways: dict[str, str],
) -> None:
    agree(server, engine, policy, seed, ways)


@pytest.mark.parametrize("seed", RULED_BY_API)
def test_with_rules_and_holds_the_same_rows_go_through_the_api(
    server: PrefectServer, engine: sa.Engine, seed: int
) -> None:
    # The server makes events whenever it likes; rules for events know nothing of the API.
    policy = replace(random_policy(seed), event_rules=())
    report = agree(server, engine, policy, seed, BY_API).report
    # Before, no deletion of the API has a guard.
    version = tuple(int(part) for part in str(report.server["version"]).split("."))
    assert ("api" in report.table("flow_run").ways) == (version >= (3, 6, 16))


def agree(
    server: PrefectServer, engine: sa.Engine, policy: Policy, seed: int, ways: dict[str, str]
) -> Outcome:
    """Fail where the engine and the oracle differ about a row, or a check about a number."""
    fill(engine, policy, seed=seed)
    there = dump(engine, (*AROUND, *TABLES))
    before = ours(there)
    wanted = survivors(before, policy)

    asked = {**policy.request(), **ways}
    checked = run_all(server, asked, check=True)
    assert ours(dump(engine)) == of_the_engine(before), "check mode changed a row"

    done = run_all(server, asked)
    left = dump(engine)
    compare(ours(left), wanted)
    foretold, deleted = checked[-1].report.deleted, done[-1].report.deleted
    assert {t: foretold.get(t, 0) for t in TABLES} == {t: deleted.get(t, 0) for t in TABLES}
    # Events of the server itself may be orphans too: their event went with an earlier test.
    gone = {table: len(set(there[table]) - set(left[table])) for table in TABLES}
    assert {t: deleted.get(t, 0) for t in TABLES} == gone

    again = run_all(server, asked)
    assert [outcome.changed for outcome in again] == [False] * 4
    compare(ours(dump(engine)), wanted)
    return done[-1]
