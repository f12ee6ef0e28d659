"""What comes to each table in a day is what its rows say, and where it leads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import FLOW, SmallDisk, clear, engine_for, request, run_step, small_disk
from world import NOW, POLICY, SAME, Policy, World, insert

from lab.postgres import Postgres

HOUR = timedelta(hours=1)
MIB = 2**20
# Large logs, for a heap of which only a part is read: 6000 a day.
MANY_LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, repeat('x', 300), CAST(:now AS timestamptz)
       - interval '20 days' * (1 - n / 120000.0) FROM generate_series(1, 120000) n
"""


def moments(a_day: int, days: int) -> list[datetime]:
    """Give instants that lie evenly over the last days."""
    return [NOW - (n + 0.5) * timedelta(days=1) / a_day for n in range(a_day * days)]


def grown(engine: sa.Engine, days: int = 20) -> None:
    """Put rows there whose ages are known: 6 logs a day, 2 runs, 3 events with 2 resources each."""
    world = World(POLICY, 1)
    for at in moments(6, days):
        row = {"id": world.new_id(), "name": "l", "level": 20, "message": "m", "timestamp": at}
        world.rows["log"].append({**row, "created": at, "updated": at})
    for at in moments(2, days):
        run: dict[str, Any] = {"id": world.new_id(), "flow_id": FLOW, "name": "r"}
        dates = {"end_time": at, "created": at, "updated": at, "state_type": "COMPLETED"}
        world.rows["flow_run"].append({**run, **dates})
        for second in range(3):
            stamp = at + timedelta(seconds=second)
            state = {"id": world.new_id(), "type": "COMPLETED", "timestamp": stamp, "name": "s"}
            world.rows["flow_run_state"].append({**state, "flow_run_id": run["id"]})
    for number, at in enumerate(moments(3, days)):
        event = {"id": world.new_id(), "occurred": at, "received": at, "recorded": at}
        kind = {"event": "often" if number % 3 else "seldom", "resource_id": "r"}
        world.rows["events"].append({**event, **kind, "resource": {}, "payload": {}})
        for _ in range(2):
            one = {"id": world.new_id(), "occurred": at, "event_id": event["id"]}
            more = {"resource_id": "r", "resource_role": "x", "resource": {}}
            world.rows["event_resources"].append({**one, **more})
    insert(engine, world)


def measured(engine: sa.Engine, **more: Any) -> dict[str, Any]:
    return run_step("bloat_info", request(engine, **more)).report.as_json()


def of_tables(report: dict[str, Any], key: str) -> dict[str, Any]:
    return {table["name"]: table[key] for table in report["tables"]}


def test_rows_a_day_are_those_of_the_last_two_weeks_and_lead_to_what_the_policy_keeps(
    engine: sa.Engine,
) -> None:
    grown(engine)
    report = measured(engine)
    rows = of_tables(report, "rows_per_day")
    assert rows == {
        "log": 6.0,
        "events": 3.0,
        "event_resources": 6.0,
        "flow_run": 2.0,
        "flow_run_state": 6.0,
        "flow_run_input": 0.0,
        "task_run": 0.0,
        "task_run_state": 0.0,
        "artifact": 0.0,
        "artifact_collection": 0.0,
    }
    assert of_tables(report, "settles_rows")["log"] == 6 * 15
    assert of_tables(report, "growth_method")["flow_run_state"].startswith("in proportion")
    assert report["forecast"]["days_measured"] == 14.0
    log = next(table for table in report["tables"] if table["name"] == "log")
    live = log["bytes_after"] - log["bloat_bytes"]
    assert log["bytes_per_day"] == int(live / 120 * 6)
    assert log["settles_bytes"] == 15 * log["bytes_per_day"]


def test_rows_from_beyond_the_retention_and_from_after_the_reference_do_not_count(
    engine: sa.Engine,
) -> None:
    grown(engine)
    policy = Policy(NOW, {**SAME, "logs": 5})
    with engine.begin() as connection:
        old = "WHERE timestamp >= :until AND timestamp < :since"
        bound: dict[str, Any] = {
            "until": NOW - timedelta(days=14),
            "since": NOW - timedelta(days=6),
        }
        if engine.dialect.name == "sqlite":
            bound = {name: at.strftime("%Y-%m-%d %H:%M:%S.%f") for name, at in bound.items()}
        connection.execute(sa.text(f"DELETE FROM log {old}"), bound)
    asked = {**request(engine, policy)}
    short = run_step("bloat_info", asked).report.as_json()
    assert of_tables(short, "rows_per_day")["log"] == 6.0
    assert of_tables(short, "growth_method")["log"] == "counted over 5 days"
    assert of_tables(short, "settles_rows")["log"] == 30
    earlier = Policy(NOW - timedelta(days=2), {**SAME, "logs": 3})
    before = run_step("bloat_info", request(engine, earlier)).report.as_json()
    assert of_tables(before, "rows_per_day")["log"] == 6.0


def test_a_server_of_some_days_is_measured_over_these_and_one_of_hours_not_at_all(
    engine: sa.Engine,
) -> None:
    grown(engine, days=4)
    report = measured(engine)
    assert report["forecast"]["days_measured"] == pytest.approx(4, abs=0.2)
    assert of_tables(report, "rows_per_day")["log"] == pytest.approx(6, abs=0.2)
    clear(engine)
    world = World(POLICY, 1)
    at = NOW - 20 * HOUR
    line = {"id": world.new_id(), "name": "l", "level": 20, "message": "m", "timestamp": at}
    world.rows["log"].append({**line, "created": at, "updated": at})
    insert(engine, world)
    report = measured(engine)
    assert set(of_tables(report, "rows_per_day").values()) == {None}
    assert report["forecast"]["settles_at_bytes"] is None
    assert "not known yet" in report["verdict"]["lines"][1]


def test_the_read_only_report_names_the_flows_and_types_of_events_that_make_the_rows(
    engine: sa.Engine,
) -> None:
    grown(engine, days=12)
    outcome = run_step("bloat_info", request(engine, growth_drivers=True))
    makers = outcome.report.as_json()["forecast"]["makers"]
    assert makers["event_types"] == [
        {"event": "often", "rows": 24},
        {"event": "seldom", "rows": 12},
    ]
    assert makers["flows"] == outcome.answers["growth"]
    assert makers["flows"][0]["flow_runs"] == 24
    shown = "\n".join(outcome.summary)
    for part in ("rows a day", "settles at", "often", "whole database"):
        assert part in shown


def test_of_a_large_heap_a_part_is_read_and_tells_nearly_the_same(
    database: str,
) -> None:
    engine = engine_for(database)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(MANY_LOGS), {"now": NOW})
    found = run_step("bloat_info", request(database)).report.table("log")
    assert found.growth_method == "from a sample of 1,000 pages over 14 days"
    assert found.rows_per_day == pytest.approx(6000, rel=0.1)
    # Few of its rows an index finds, and without one the part must do.
    few = request(database, Policy(NOW, {**SAME, "logs": 2}))
    counted = run_step("bloat_info", few).report.table("log")
    assert (counted.growth_method, counted.rows_per_day) == ("counted over 2 days", 6000.0)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_log__timestamp")
    part = run_step("bloat_info", few).report.table("log")
    assert part.growth_method == "from a sample of 1,000 pages over 2 days"
    assert part.rows_per_day == pytest.approx(6000, rel=0.2)


@pytest.fixture
def small(cluster: Postgres, template: str) -> Iterator[SmallDisk]:
    with small_disk(cluster, template, "growing") as disk:
        yield disk


def test_a_database_on_a_small_disk_says_when_it_is_full(small: SmallDisk) -> None:
    engine = engine_for(small.url)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(MANY_LOGS), {"now": NOW})
    # Three days until it settles, and then it fits; without the policy it never does.
    longer = Policy(NOW, {**SAME, "logs": 23, "flow_runs": 90})
    told = run_step("bloat_info", request(small.url, longer)).report.as_json()["forecast"]
    assert told["disk"]["path"] == str(small.folder / "space")
    assert told["disk"]["where"] == "the target"
    assert told["disk"]["free_bytes"] < told["disk"]["total_bytes"] <= 120 * MIB
    a_day = told["bytes_per_day"]
    without = told["disk"]["free_bytes"] / a_day
    assert told["days_until_full_without"] == pytest.approx(without, abs=1)
    assert told["days_until_full"] is None
    small.fill(leave=int(2.5 * a_day))
    outcome = run_step("bloat_info", request(small.url, longer))
    report = outcome.report.as_json()
    assert report["forecast"]["days_until_full"] == 2
    (need,) = report["verdict"]["needs"]
    assert str(small.folder) in need["text"]
    assert "prefect_maintenance_retention: {logs: " in need["do"]
    assert "full in 2 days" in "\n".join(outcome.summary)
