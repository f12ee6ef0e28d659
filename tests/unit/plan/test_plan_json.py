"""A plan is complete: it can be written down, read back equal, and told from any other."""

from __future__ import annotations

import json
from dataclasses import replace

from prefect_maintenance.plan.choices import Choice, Cost
from prefect_maintenance.plan.decisions import Decision
from prefect_maintenance.plan.estimate import Estimate
from prefect_maintenance.plan.indexes import IndexChoice
from prefect_maintenance.plan.plan import OLD, PARENT_GONE, Kept, Plan, Reason
from prefect_maintenance.plan.via import Via

PURGED = Plan(
    rows={"log": 90, "events": 7},
    kept=(Kept("log", 3, "their flow run is not finished"),),
    orphaned={"log": 2},
    reasons=(Reason("log", 88, OLD), Reason("log", 2, PARENT_GONE), Reason("events", 7, OLD)),
    estimates={"log": Estimate(4096, 1.5, 10, 10)},
    decisions={
        "log": Decision(
            "log", "rewrite", "90 % of the rows go", {"rewrite": Cost(1.5, 10, 20, 0.01)}, 4096
        )
    },
)
DELETED = Plan(
    rows={"flow_run": 5, "log": 10},
    kept=(Kept("flow_run", 1, "it is held"),),
    via=Via("mixed", "it fits", 3, 0.5, 600),
)
RECLAIMED = Plan(
    reclaim=(
        Choice("log", "plain", 0, "the purge rewrites it"),
        Choice(
            "flow_run",
            "full",
            1024,
            "a rewrite gives back 1.0 KiB",
            {"rewrite": Cost(0.6, 5, 7, 0.01, "a foreign key"), "full": Cost(0.5, 5, 7, 0.5)},
            otherwise="compact",
        ),
        Choice(None, "full", 512, "the whole file"),
    ),
    estimates={"flow_run": Estimate(1024, 0.5, 5, 10), None: Estimate(512, 0.25, 0, 250)},
    indexes=(IndexChoice("task_run", "ix", "bloated", "rebuild", 100, 60, "too large"),),
)
WHOLE = PURGED.joined(DELETED).joined(RECLAIMED)


def read_back(plan: Plan) -> Plan:
    return Plan.of_json(json.loads(json.dumps(plan.as_json())))


def test_a_plan_is_read_back_equal() -> None:
    for plan in (Plan(), PURGED, DELETED, RECLAIMED, WHOLE):
        assert read_back(plan) == plan
        assert read_back(plan).fingerprint == plan.fingerprint


def test_the_plans_of_the_steps_become_one() -> None:
    assert WHOLE.rows == {"log": 100, "events": 7, "flow_run": 5}
    assert [kept.what for kept in WHOLE.kept] == ["log", "flow_run"]
    assert WHOLE.decisions == PURGED.decisions
    assert WHOLE.reclaim == RECLAIMED.reclaim
    assert WHOLE.via == DELETED.via


def test_a_plan_says_which_bytes_come_back_per_table_and_in_all() -> None:
    assert WHOLE.bytes_back == {"log": 4096, "flow_run": 1024, None: 512, "task_run": 60}
    assert WHOLE.as_json()["bytes_back"] == 4096 + 1024 + 512 + 60


def test_a_plan_that_differs_in_anything_has_another_fingerprint() -> None:
    decision = PURGED.decisions["log"]
    dearer = {"rewrite": replace(decision.costs["rewrite"], why_not="no room")}
    others = (
        replace(PURGED, rows={"log": 91, "events": 7}),
        replace(PURGED, kept=()),
        replace(PURGED, reasons=()),
        replace(PURGED, estimates={}),
        replace(PURGED, orphaned={}),
        replace(PURGED, decisions={"log": replace(decision, strategy="delete")}),
        replace(PURGED, decisions={"log": replace(decision, costs={})}),
        replace(PURGED, decisions={"log": replace(decision, costs=dearer)}),
        replace(PURGED, reclaim=RECLAIMED.reclaim),
        replace(PURGED, reclaim=(replace(RECLAIMED.reclaim[1], ways={}),)),
        replace(PURGED, indexes=RECLAIMED.indexes),
        replace(PURGED, via=DELETED.via),
    )
    assert len({plan.fingerprint for plan in (PURGED, *others)}) == 1 + len(others)
