"""The step that deletes by rules, and those who change what its rules and holds look at."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from maintenance import FLOW
from world import NOW, Row, World

from .parties import RUNS, Party
from .scene import Scene, run

RULED = "delete by SQL with rules"
RULED_STAGE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    RULED: (
        "delete",
        {
            "run_delete_via": "sql",
            "batch_size": 10,
            "rules": [
                {"tags": ["long"], "keep": "forever"},
                {"deployments": ["ranked"], "keep": {"last_success": 1}},
            ],
        },
    )
}
_ONE = "f.name = 'to be retried'"
_LAST = "f.name = 'last success'"
_DEPLOYED = "f.deployment_id = (SELECT d.id FROM deployment d WHERE d.name = 'ranked')"
_LATE = "2026-06-30 11:00:00+00"
_THEIRS = """
SELECT x.id::text FROM {table} x
WHERE x.flow_run_id IN (SELECT f.id FROM flow_run f WHERE {whose}) FOR SHARE
"""
_LATER = f"""
INSERT INTO flow_run
SELECT (jsonb_populate_record(f, %s)).* FROM flow_run f WHERE {_LAST}
"""


def add_ranked(world: World, retried: Row) -> None:
    """Let a run be of a deployment with two newer ones, the last of which stays by its rank."""
    deployment = world.new_id()
    row = {"id": deployment, "name": "ranked", "flow_id": FLOW, "tags": []}
    world.rows["deployment"].append(row)
    retried["deployment_id"] = deployment
    for name, days in (("overtaken", 50), ("last success", 40)):
        ages = dict.fromkeys(("end_time", "state_timestamp", "start_time"), NOW - timedelta(days))
        world.run("flow_run", "flow_runs", flow_id=FLOW, deployment_id=deployment)
        world.rows["flow_run"][-1].update(name=name, state_type="COMPLETED", **ages)


def acts(stage: str, party: str) -> bool:
    """Tell whether somebody acts in a step: who changes runs for rules, where rules count."""
    return (stage == RULED) == any(party == one.name for one in RULERS)


def _changes(name: str, sql: str, whose: str = _ONE, *, holds: bool = False) -> Party:
    """Make somebody who changes runs so that they stay; a hold keeps their task runs too."""

    def act(scene: Scene) -> None:
        opened = scene.connect()
        run(opened, sql)
        # Waits for whoever is deleting one of them: for that the change came too late.
        runs = run(opened, f"SELECT f.id::text FROM flow_run f WHERE {whose} FOR UPDATE")
        kept = {"flow_run": {row for (row,) in runs}}
        scene.free |= scene.retried | kept["flow_run"]
        for table in ("log", "task_run") if holds else ("log",):
            rows = run(opened, _THEIRS.format(table=table, whose=whose))
            kept[table] = {row for (row,) in rows}
        if not scene.waited.is_set():
            scene.kept |= kept
        opened.close()

    return Party(name, act, tables=RUNS)


def _succeeds_again(scene: Scene) -> None:
    _AGAIN.act(scene)
    _outranked(scene)


def _succeeds_later(scene: Scene) -> None:
    new = str(uuid.uuid4())
    changed = {"id": new, "name": "later success", "end_time": _LATE}
    scene.balance["flow_run"] += 1
    scene.kept["flow_run"] = {new}
    _outranked(scene)
    scene.ask(_LATER, [json.dumps(changed)])


def _outranked(scene: Scene) -> None:
    """Note that the last success is none any more: only the ranks of the plan keep it."""
    scene.free |= {row for (row,) in scene.ask(f"SELECT f.id::text FROM flow_run f WHERE {_LAST}")}


_AGAIN = _changes(
    "a run succeeds again", f"UPDATE flow_run f SET end_time = '{_LATE}' WHERE {_ONE}"
)
RULERS = (
    _changes(
        "a run gains a hold", f"UPDATE flow_run f SET tags = '[\"keep\"]' WHERE {_ONE}", holds=True
    ),
    _changes(
        "a deployment gains a hold",
        "UPDATE deployment SET tags = '[\"hold:theirs\"]' WHERE name = 'ranked'",
        _DEPLOYED,
        holds=True,
    ),
    _changes(
        "a run gains a tag of another rule",
        f"UPDATE flow_run f SET tags = '[\"long\"]' WHERE {_ONE}",
    ),
    Party(_AGAIN.name, _succeeds_again, tables=RUNS),
    Party("another run succeeds later", _succeeds_later, tables=RUNS),
)
