"""The oldest row that should have gone, apart from those that are kept on purpose."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from maintenance import FLOW, clear, engine_for, request, run_step
from world import NOW, POLICY, World, insert, make_world


@pytest.fixture(params=["database", "sqlite_database"])
def url(request: pytest.FixtureRequest) -> str:
    found = str(request.getfixturevalue(request.param))
    engine = engine_for(found)
    clear(engine)
    engine.dispose()
    return found


def put(url: str, table: str, **columns: Any) -> str:
    world = World(POLICY, 1)
    row = {"id": world.new_id(), **columns}
    world.rows[table].append(row)
    engine = engine_for(url)
    insert(engine, world)
    engine.dispose()
    return str(row["id"])


def run_of(state: str, days: int, number: int, **columns: Any) -> dict[str, Any]:
    at = NOW - timedelta(days=days)
    return {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "name": "r",
        "state_type": state,
        "created": at,
        "updated": at,
        "end_time": at,
        **columns,
    }


def due(url: str, **more: Any) -> dict[str, str | None]:
    asked = request(url, **more)
    found = run_step("bloat_info", asked).answers["tables"]
    return {table["name"]: table["oldest_due"] for table in found}


def day(days: int) -> str:
    return f"{NOW - timedelta(days=days):%Y-%m-%dT%H:%M:%S}"


def test_a_run_that_is_kept_on_purpose_is_not_due(url: str) -> None:
    put(url, "flow_run", flow_id=FLOW, **run_of("RUNNING", 90, 1))
    put(url, "flow_run", flow_id=FLOW, **run_of("CRASHED", 80, 2))
    put(
        url, "task_run", flow_run_id=run_of("RUNNING", 90, 1)["id"], task_key="t",
        dynamic_key="0", **run_of("COMPLETED", 85, 11),
    )  # fmt: skip
    # A finished tree with an unfinished member stays whole.
    put(url, "flow_run", flow_id=FLOW, **run_of("COMPLETED", 70, 3))
    put(
        url, "task_run", flow_run_id=run_of("COMPLETED", 70, 3)["id"], task_key="t",
        dynamic_key="1", **run_of("RUNNING", 70, 12),
    )  # fmt: skip
    put(
        url, "flow_run", flow_id=FLOW, parent_task_run_id=run_of("RUNNING", 70, 12)["id"],
        **run_of("RUNNING", 69, 4),
    )  # fmt: skip
    put(url, "flow_run", flow_id=FLOW, **run_of("COMPLETED", 3, 5))
    assert due(url)["flow_run"] is None
    assert due(url)["task_run"] is None

    put(url, "flow_run", flow_id=FLOW, **run_of("COMPLETED", 40, 6))
    put(url, "flow_run", flow_id=FLOW, **run_of("COMPLETED", 30, 7))
    assert str(due(url)["flow_run"]).startswith(day(40))


def test_a_log_of_an_unfinished_run_is_not_due_and_an_older_one_of_nobody_is(url: str) -> None:
    run = put(url, "flow_run", flow_id=FLOW, **run_of("RUNNING", 90, 1))
    line = {"name": "l", "level": 20, "message": "m"}
    at = NOW - timedelta(days=60)
    put(url, "log", timestamp=at, created=at, updated=at, flow_run_id=run, **line)
    assert due(url)["log"] is None
    older = NOW - timedelta(days=50)
    put(url, "log", id="00000000-0000-4000-8000-0000000000aa", timestamp=older, created=older,
        updated=older, **line)  # fmt: skip
    assert str(due(url)["log"]).startswith(day(50))


def test_nothing_is_due_after_a_run_and_what_was_due_before_was_the_plan(url: str) -> None:
    world = make_world(POLICY, 11, flow=FLOW, size=80, foreign_keys=True)
    engine = engine_for(url)
    insert(engine, world)
    engine.dispose()
    asked = request(url, run_delete_via="sql")
    assert any(due(url).values())
    report: dict[str, Any] = {}
    for step in ("bloat_info", "purge", "delete", "vacuum"):
        report = run_step(step, {**asked, "report": report}).report.as_json()
    assert {table["name"] for table in report["tables"] if table["oldest_due"]} == set()
    assert any(
        table["oldest_after"] and table["cutoff"] and table["oldest_after"] < table["cutoff"]
        for table in report["tables"]
    ), "the world has rows that are kept although they are old"
