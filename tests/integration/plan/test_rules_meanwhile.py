"""What others change between the plan and the deletion: what is true at the deletion decides.

A run goes only when the rule that decided about it still does, and it is still not held; whatever
else became of it, the next run decides anew.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import at_first_batch, clear, engine_for, request, run_step, with_defaults
from prefect_maintenance.execute.ways import BySql
from rewriting import strategy
from ruled_scene import RuledScene, change
from takers import between
from world import NOW, SAME, Policy, dump

from lab.server import PrefectServer

SHORT = {"days": 2}
POLICY = Policy(
    NOW,
    SAME,
    rules=(
        {"tags": ["long"], "keep": "forever"},
        {"tags": ["soon"], "keep": {"days": 1}},
        {"tags": ["short"], "keep": SHORT},
        {"deployments": ["nightly*"], "keep": SHORT},
        {"flows": ["etl*"], "keep": SHORT},
        {"work_pools": ["k8s*"], "keep": SHORT},
        {"deployments": ["ranked"], "keep": {"last_success": 1}},
        {"states": ["FAILED"], "keep": SHORT},
    ),
)
asked = partial(request, policy=POLICY, run_delete_via="sql")
# Which holds have ended is looked up once, among the tags that are there.
ENDED = "keep-until:2026-06-29"
# Older than what rules say, and younger than the general policy.
DAYS, OLD = 5, 60


class Meanwhile:
    """Runs that a plan deletes, each with what becomes of it before the deletion comes to it."""

    def __init__(self) -> None:
        self.scene = RuledScene(POLICY)
        # Of no rule, without a tag and the oldest: it goes before all others.
        self.first = self.scene.run(900)
        self.scene.run(1, [ENDED])
        self.changes: list[tuple[str, str, dict[str, Any]]] = []
        # By what becomes of it: the run, and whether it stays now and after the next run.
        self.runs: dict[str, str] = {}
        self.expected: dict[str, tuple[bool, bool]] = {}

    def expect(
        self, told: str, run: str, changed: dict[str, Any], *, of: tuple[str, str] | None = None,
        now: bool, later: bool,
    ) -> None:  # fmt: skip
        """Say what becomes of a run, or of a row that it belongs to, and which runs keep it."""
        table, row = of or ("flow_run", run)
        self.changes.append((table, row, changed))
        self.runs[told], self.expected[told] = run, (now, later)

    def act(self, engine: sa.Engine) -> None:
        with engine.begin() as connection:
            for table, row, columns in self.changes:
                change(connection, table, row, **columns)

    def stay(self, engine: sa.Engine) -> dict[str, bool]:
        there = dump(engine, ["flow_run"])["flow_run"]
        return {told: run in there for told, run in self.runs.items()}

    def stays(self, turn: int) -> dict[str, bool]:
        return {told: expected[turn] for told, expected in self.expected.items()}


Columns = dict[str, Any]

# What becomes of a run with the tag of a rule; whether it stays now, and after the next run.
TAGGED: list[tuple[str, Columns, bool, bool]] = [
    ("gains a hold", {"tags": ["short", "keep"]}, True, True),
    ("gains a hold that ends", {"tags": ["short", "keep-until:2026-06-30"]}, True, True),
    ("gains a hold that has ended", {"tags": ["short", ENDED]}, False, False),
    ("gains one that no tag had before", {"tags": ["short", "keep-until:2026-06-28"]}, True, False),
    ("gains a tag of a rule before", {"tags": ["short", "long"]}, True, True),
    ("gains one of a rule that keeps for less", {"tags": ["short", "soon"]}, True, False),
    ("gains a tag that no rule names", {"tags": ["short", "x"]}, False, False),
    ("loses its tag", {"tags": []}, True, True),
    ("fails after all, which changes ranks", {"state_type": "FAILED"}, True, False),
    ("begins again", {"state_type": "RUNNING"}, True, True),
    ("ends later", {"end_time": NOW - timedelta(days=1)}, True, True),
]
# The same of a run that no rule decides about.
UNRULED: list[tuple[str, Columns, bool, bool]] = [
    ("of no rule gains a tag of one", {"tags": ["soon"]}, True, False),
    ("of no rule fails, which one names", {"state_type": "FAILED"}, True, False),
    ("of no rule crashes", {"state_type": "CRASHED"}, True, True),
    ("of no rule gains a hold", {"tags": ["hold: mine"]}, True, True),
]
# The same of a run's deployment.
DEPLOYED: list[tuple[str, Columns, bool]] = [
    ("has a deployment that gains a hold", {"tags": ["keep"]}, True),
    ("has a deployment that gains a tag", {"tags": ["long"]}, False),
    ("has a deployment that is renamed", {"name": "weekly"}, True),
    ("has a deployment with another name of the rule", {"name": "nightly again"}, False),
]


def tagged(m: Meanwhile) -> None:
    """Runs that a rule decides about by their tag or state, or none, which change."""
    for told, columns, now, later in TAGGED:
        m.expect(told, m.scene.run(DAYS, ["short"]), columns, now=now, later=later)
    for told, columns, now, later in UNRULED:
        m.expect(told, m.scene.run(OLD), columns, now=now, later=later)
    failed = m.scene.run(DAYS, state_type="FAILED")
    m.expect("no longer failed", failed, {"state_type": "COMPLETED"}, now=True, later=True)
    parent = m.scene.run(OLD)
    child = m.scene.run(OLD, parent_task_run_id=m.scene.task(parent, OLD))
    held = ("flow_run", child)
    m.expect("has a child that gains a hold", parent, {"tags": ["keep"]}, of=held, now=True,
             later=True)  # fmt: skip


def deployed(m: Meanwhile) -> None:
    """Runs that a rule decides about by what they belong to, which changes."""
    for told, columns, now in DEPLOYED:
        deployment = m.scene.deployment(f"nightly {told}")
        run = m.scene.run(DAYS, deployment_id=deployment)
        m.expect(told, run, columns, of=("deployment", deployment), now=now, later=now)
    flow = m.scene.flow("etl")
    run = m.scene.run(DAYS, flow_id=flow)
    m.expect("has a flow that is renamed", run, {"name": "load"}, of=("flow", flow), now=True,
             later=True)  # fmt: skip
    run = m.scene.run(DAYS, work_queue_id=m.scene.queue("k8s 1"))
    pool = m.scene.world.rows["work_pool"][-1]["id"]
    m.expect("has a pool that is renamed", run, {"name": "ecs"}, of=("work_pool", pool), now=True,
             later=True)  # fmt: skip
    run = m.scene.run(DAYS, work_queue_id=m.scene.queue("k8s 2"))
    m.expect("loses its queue", run, {"work_queue_id": None}, now=True, later=True)


def test_what_becomes_of_a_run_between_plan_and_deletion_decides_about_it(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, runs_a_batch=1)
    meanwhile = Meanwhile()
    tagged(meanwhile)
    deployed(meanwhile)
    meanwhile.scene.put(engine)
    goes = run_step("delete", asked(engine), check=True).report.deleted["flow_run"]
    assert goes == len(meanwhile.runs) + 2, "the plan deletes all of them, a first and a child"
    with at_first_batch("flow_run", lambda: meanwhile.act(engine)) as pace:
        run_step("delete", asked(engine), pace=pace)
    assert meanwhile.stay(engine) == meanwhile.stays(0)
    assert meanwhile.first not in dump(engine, ["flow_run"])["flow_run"]
    run_step("delete", asked(engine))
    assert meanwhile.stay(engine) == meanwhile.stays(1)


def test_a_deployment_that_is_deleted_meanwhile_takes_no_run_along(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, runs_a_batch=1)
    scene = RuledScene(POLICY)
    scene.run(900)
    deployment = scene.deployment("nightly")
    run = scene.run(DAYS, deployment_id=deployment)
    scene.put(engine)

    def delete_the_deployment() -> None:
        with engine.begin() as connection:
            sql = "DELETE FROM deployment WHERE id = :id"
            connection.execute(sa.text(sql), {"id": deployment})

    with at_first_batch("flow_run", delete_the_deployment) as pace:
        run_step("delete", asked(engine), pace=pace)
    assert set(dump(engine, ["flow_run"])["flow_run"]) == {run}


def test_runs_that_others_add_meanwhile_stay_and_change_the_ranks_of_the_next_run_only(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, runs_a_batch=1)
    scene, later = RuledScene(POLICY), RuledScene(POLICY)
    scene.run(900)
    deployment = scene.deployment("ranked")
    goes, stays = (scene.run(days, deployment_id=deployment) for days in (9, 8))
    scene.put(engine)
    later.world.random.seed(2)
    newest = later.run(DAYS, deployment_id=deployment)
    old = later.run(800)

    with at_first_batch("flow_run", lambda: later.put(engine)) as pace:
        run_step("delete", asked(engine), pace=pace)
    left = set(dump(engine, ["flow_run"])["flow_run"])
    assert left == {stays, newest, old}
    assert goes not in left
    run_step("delete", asked(engine))
    assert set(dump(engine, ["flow_run"])["flow_run"]) == {newest}


class Held:
    """Two runs that gain a hold, one of them by its deployment, with a row of each old enough."""

    def __init__(self, table: str) -> None:
        self.scene = RuledScene(POLICY)
        self.deployment = self.scene.deployment("weekly")
        scene, self.run = self.scene, self.scene.run(1)
        add = {"task_run": scene.task, "artifact": scene.artifact, "log": scene.log}[table]
        add(scene.run(1), 900)
        deployed = scene.run(1, deployment_id=self.deployment)
        self.rows = {add(self.run, OLD), add(deployed, OLD)}
        if table == "log":
            # Where most of a table goes, it goes in the order of its pages.
            self.rows |= {scene.log(None, 1) for _ in range(50)}

    def gain(self, engine: sa.Engine) -> None:
        with engine.begin() as connection:
            change(connection, "flow_run", self.run, tags=["keep"])
            change(connection, "deployment", self.deployment, tags=["hold:x"])


@pytest.mark.parametrize("table", ["task_run", "artifact", "log"])
def test_what_hangs_on_a_run_that_gains_a_hold_meanwhile_stays(
    engine: sa.Engine, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defaults(monkeypatch, BySql, rows_a_batch=1)
    held = Held(table)
    held.scene.put(engine)
    with at_first_batch(table, lambda: held.gain(engine)) as pace:
        told = asked(engine, purge_strategy="delete", batch_size=1)
        run_step("purge" if table == "log" else "delete", told, pace=pace)
    assert set(dump(engine, [table])[table]) == held.rows


def test_logs_of_a_run_that_gains_a_hold_while_they_are_rewritten_stay(database: str) -> None:
    held, engine = Held("log"), engine_for(database)
    clear(engine)
    held.scene.put(engine)
    with at_first_batch("log", lambda: held.gain(engine)) as pace:
        outcome = run_step("purge", asked(engine, purge_strategy="rewrite"), pace=pace)
    assert strategy(outcome) == "rewrite"
    assert set(dump(engine, ["log"])["log"]) == held.rows
    engine.dispose()


@pytest.mark.parametrize("which", ["shared_server", "shared_sqlite_server"])
def test_the_api_too_is_asked_only_for_runs_that_their_rule_still_lets_go(
    which: str, request: pytest.FixtureRequest
) -> None:
    server: PrefectServer = request.getfixturevalue(which)
    engine = engine_for(server.db_url)
    clear(engine)
    meanwhile = Meanwhile()
    deployed(meanwhile)
    # The call for it is under way when it changes: the server's own guard keeps it.
    meanwhile.expect("gains a hold at the call", meanwhile.first, {"tags": ["keep"]}, now=True,
                     later=True)  # fmt: skip
    for told, tag, stays in (
        ("gains a hold before the call", "keep", True),
        ("gains a tag before the call", "soon", False),
    ):
        run = meanwhile.scene.run(OLD)
        meanwhile.expect(told, run, {"tags": [tag]}, now=True, later=stays)
    quiet = meanwhile.scene.run(OLD)
    meanwhile.scene.put(engine)
    acts = [meanwhile.act]

    def act() -> None:
        while acts:
            acts.pop()(engine)

    with between(server, act) as api_url:
        by_api = asked(server.db_url, api_url=api_url, run_delete_via="api", batch_size=1)
        outcome = run_step("delete", by_api)
    assert not acts, "there was no call"
    assert meanwhile.stay(engine) == meanwhile.stays(0)
    assert quiet not in dump(engine, ["flow_run"])["flow_run"]
    assert outcome.report.table("flow_run").ways["api"] >= 1
    run_step("delete", {**by_api, "api_url": server.api_url})
    assert meanwhile.stay(engine) == meanwhile.stays(1)
    engine.dispose()
