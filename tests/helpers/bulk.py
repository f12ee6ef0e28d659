"""Events, their resources and logs by hand, each with a name, and what a purge leaves of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from maintenance import FLOW, clear, engine_for, request, run_step
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.instants import iso
from world import NOW, POLICY, Row, World, dump, insert

PURGED = ("log", "events", "event_resources")
WAYS = ("sqlite", "delete", "rewrite")


def id_of(name: str) -> str:
    """Return the id of the row of a name, in the order of the names of a length."""
    return str(uuid.UUID(bytes=name.encode().rjust(16, b"\0")))


def _id(name: str | None) -> str | None:
    return name and id_of(name)


class Bulk:
    """Rows to purge; `days` are those of their age, and fractions are fine."""

    def __init__(self) -> None:
        self.world = World(POLICY, 1)

    def _add(self, table: str, name: str, row: Row) -> None:
        self.world.rows[table].append({"id": id_of(name), **row})

    def event(
        self,
        name: str,
        days: float,
        kind: str = "lab.x",
        resource: str = "r",
        *,
        resources: Sequence[float] = (),
    ) -> None:
        """Add an event, with a resource of each age; `a` has `a+0`, `a+1` and so on."""
        at = NOW - timedelta(days=days)
        row = {"event": kind, "resource_id": resource, "resource": {}, "payload": {}}
        self._add("events", name, {"occurred": at, "received": at, "recorded": at, **row})
        for number, age in enumerate(resources):
            self.resource(f"{name}+{number}", age, name)

    def resource(self, name: str, days: float, event: str) -> None:
        """Add a resource of an event, which may not be there."""
        row = {"resource_id": "r", "resource_role": "x", "resource": {}, "event_id": id_of(event)}
        self._add("event_resources", name, {"occurred": NOW - timedelta(days=days), **row})

    def run(self, name: str, days: float, state: str = "COMPLETED", tag: str = "") -> None:
        """Add a flow run, with a task run `<name>/t`."""
        at = NOW - timedelta(days=days)
        row = {"name": "r", "state_type": state, "end_time": at, "created": at, "updated": at}
        tags = json.dumps([tag] if tag else [])
        self._add("flow_run", name, {**row, "flow_id": FLOW, "tags": tags})
        task = {"task_key": "t", "dynamic_key": "0", "flow_run_id": id_of(name)}
        self._add("task_run", f"{name}/t", {**row, **task})

    def log(
        self,
        name: str,
        days: float,
        level: int = 20,
        logger: str = "prefect.flow_runs",
        run: str | None = None,
        task: str | None = None,
    ) -> None:
        """Add a log, of a run, of only a task run, or of nobody."""
        at = NOW - timedelta(days=days)
        row = {"name": logger, "level": level, "message": "m", "timestamp": at}
        self._add("log", name, {**row, "flow_run_id": _id(run), "task_run_id": _id(task)})


def fill_by_hand(url: str, rows: Bulk) -> None:
    """Leave nothing in a database but these rows."""
    engine = engine_for(url)
    clear(engine)
    engine.dispose()
    put(url, rows)


def put(url: str, rows: Bulk) -> None:
    """Add these rows to a database."""
    engine = engine_for(url)
    insert(engine, rows.world)
    engine.dispose()


def due(url: str, table: str, **rules: Any) -> str | None:
    """Say when the oldest row of a table occurred that should have gone."""
    tables = run_step("bloat_info", request(url, **rules)).report.as_json()["tables"]
    oldest: str | None = next(one["oldest_due"] for one in tables if one["name"] == table)
    return oldest


def names(url: str, tables: Sequence[str] = PURGED) -> set[str]:
    """Return the names of the rows that are there."""
    engine = engine_for(url)
    found = {
        uuid.UUID(one).bytes.lstrip(b"\0").decode()
        for rows in dump(engine, tables).values()
        for one in rows
    }
    engine.dispose()
    return found


def left(url: str, rows: Bulk, way: str, pace: Pace | None = None, **rules: Any) -> set[str]:
    """Purge these rows one way, as the check before it says, and return the names of what stays."""
    fill_by_hand(url, rows)
    strategy = "rewrite" if way == "rewrite" else "delete"
    asked = request(url, purge_strategy=strategy, **rules)
    planned = run_step("purge", asked, check=True).report.as_json()
    there = names(url)
    done = run_step("purge", asked, pace=pace).report.as_json()
    assert done["deleted"] == planned["deleted"]
    assert not [told for told in done["warnings"] if "purged by deletes" in told]
    stays = names(url)
    assert sum(done["deleted"].values()) == len(there - stays)
    return stays


def instant(days: float) -> str:
    """Return the instant so many days ago, as a report writes it."""
    return iso(NOW - timedelta(days=days))
