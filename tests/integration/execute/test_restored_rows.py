"""One run, a time, or all of an archive comes back; a wrong archive is refused in one line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from archiving import OLD, add_logs, archived, restored, world_in
from maintenance import FLOW, fill, refused, request
from prefect_maintenance.errors import MaintenanceError, SettingsError, Unsupported
from prefect_maintenance.execute.archive_gzip import Unreadable
from world import NOW, POLICY, as_stored, dump, insert, make_world


def tree_in(engine: sa.Engine) -> tuple[str, str]:
    """Add a run with a subflow and all that belongs to them; returns the ids of the two."""
    world = make_world(POLICY, 77, flow=FLOW, size=0, foreign_keys=True)
    world.rows["artifact_collection"].clear()
    ages = dict.fromkeys(("end_time", "state_timestamp", "start_time"), OLD)
    tops = []
    task = None
    for _ in range(2):
        run = world.run("flow_run", "flow_runs", flow_id=FLOW)
        world.rows["flow_run"][-1].update(
            state_type="COMPLETED", parent_task_run_id=task, state_id=None, **ages
        )
        state = {"id": world.new_id(), "type": "COMPLETED", "timestamp": OLD, "name": "s"}
        world.rows["flow_run_state"].append({**state, "flow_run_id": run})
        world.rows["flow_run"][-1]["state_id"] = state["id"]
        task = world.run("task_run", "task_runs", flow_run_id=run, task_key="t", dynamic_key="0")
        world.rows["task_run"][-1].update(state_type="COMPLETED", **ages)
        world.rows["task_run_state"].append({**state, "id": world.new_id(), "task_run_id": task})
        for entity, row in (
            ("log", {"name": "l", "level": 20, "message": "m", "timestamp": OLD}),
            ("artifact", {"key": f"of-{run}", "type": "markdown", "created": OLD}),
        ):
            world.rows[entity].append({**row, "id": world.new_id(), "flow_run_id": run})
        tops.append(run)
    insert(engine, world)
    return tops[0], tops[1]


def test_a_run_comes_back_with_its_subflow_and_all_that_belongs_to_them(
    engine: sa.Engine, tmp_path: Path
) -> None:
    fill(engine, seed=11)
    top, child = tree_in(engine)
    before = dump(engine)
    archived(engine, tmp_path)
    left = dump(engine)
    assert {top, child} & set(left["flow_run"]) == set()
    foretold, _ = restored(engine, tmp_path, flow_run=top, check=True)
    done, changed = restored(engine, tmp_path, flow_run=top.upper())
    assert changed
    assert done == foretold
    counts = {table: rows for table, rows in done["restored"].items() if rows}
    assert counts == {
        "flow_run": 2, "flow_run_state": 2, "task_run": 2, "task_run_state": 2, "log": 2,
        "artifact": 2,
    }  # fmt: skip
    after = dump(engine)
    for table, rows in after.items():
        came = {key: rows[key] for key in set(rows) - set(left[table])}
        assert came == {key: before[table][key] for key in came}
    assert after["flow_run"][child]["parent_task_run_id"] is not None
    assert after["flow_run"][top]["state_id"] is not None
    assert not restored(engine, tmp_path, flow_run=top)[1]


def test_what_is_dated_in_a_time_comes_back(engine: sa.Engine, tmp_path: Path) -> None:
    fill(engine, seed=11)
    early, late = NOW - timedelta(days=300), NOW - timedelta(days=299)
    sql = sa.text(
        "INSERT INTO log (id, name, level, message, timestamp) VALUES (:id, 'l', 20, 'm', :at)"
    )
    ids = [str(uuid.UUID(int=number)) for number in range(3)]
    times = (early - timedelta(microseconds=1), early, late)
    with engine.begin() as connection:
        for one, at in zip(ids, times, strict=True):
            connection.execute(sql, {"id": one, "at": as_stored(engine, at)})
    archived(engine, tmp_path)
    begin, until = early.isoformat(), late.isoformat()
    done, _ = restored(engine, tmp_path, begin=begin, until=until)
    assert sum(done["restored"].values()) == 1
    assert {*ids} & set(dump(engine, ["log"])["log"]) == {ids[1]}


def test_rows_without_their_parent_are_left_out_and_the_report_says_so(
    database: str, tmp_path: Path
) -> None:
    with world_in(database) as engine:
        top, _ = tree_in(engine)
        archived(engine, tmp_path)
        with engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM flow"))
        done, _ = restored(engine, tmp_path, flow_run=top)
        assert done["left_out"]["flow_run"] == 2
        assert done["left_out"]["task_run_state"] == 2
        assert done["restored"]["log"] == 2


def damaged(folder: Path) -> None:
    path = next(folder.glob("*/*/log.jsonl.gz"))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def shortened(folder: Path) -> None:
    path = next(folder.glob("*/*/log.jsonl.gz"))
    path.write_bytes(path.read_bytes()[:-1])


def said(**other: Any) -> Callable[[Path], None]:
    """Let a manifest say something else."""

    def change(folder: Path) -> None:
        path = next(folder.glob("*/*/manifest.json"))
        path.write_text(json.dumps({**json.loads(path.read_text()), **other}))

    return change


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        (damaged, Unreadable, "log.jsonl.gz is not what was archived"),
        (shortened, Unreadable, "log.jsonl.gz is not what was archived"),
        (said(revision="4160a4841eed"), Unsupported, "schema revision 4160a4841eed"),
        (said(dialect="sqlite"), Unsupported, "is of sqlite"),
        (said(kind="else"), SettingsError, "there is no archive in"),
        (said(form=3), MaintenanceError, "has form 3, this tool reads forms up to 2"),
    ],
)
def test_a_wrong_archive_is_refused_and_nothing_is_restored(
    database: str, tmp_path: Path, change: Any, error: type[MaintenanceError], why: str
) -> None:
    with world_in(database, size=5) as engine:
        add_logs(engine, 50)
        archived(engine, tmp_path)
        left = dump(engine)
        change(tmp_path)
        for check in (True, False):
            asked = request(engine, None, archive=str(tmp_path))
            refused("restore", asked, error, why, check=check)
        assert dump(engine) == left


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"flow_run": "x"}, "flow_run must be the id of a run, not 'x'"),
        ({"begin": "soon"}, "begin must be an ISO 8601 time"),
        ({"begin": "2026-02-01", "until": "2026-01-01"}, "begin must be before until"),
        ({"flow_run": str(uuid.UUID(int=1)), "begin": "2026-02-01"}, "give one"),
    ],
)
def test_a_wrong_wish_is_refused(tmp_path: Path, asked: dict[str, str], why: str) -> None:
    refused("restore", {"archive": str(tmp_path), **asked}, SettingsError, why)
