"""Rows by hand for rules to decide about, and others who change them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from maintenance import FLOW
from world import NOW, Policy, World, as_stored, insert

DATES = ("end_time", "state_timestamp", "start_time", "expected_start_time")


class RuledScene:
    """Flow runs with what rules look at; everything is completed unless it is said otherwise."""

    def __init__(self, policy: Policy) -> None:
        self.world = World(policy, 1)

    def add(self, table: str, **columns: Any) -> str:
        """Add a row of any table; returns its id."""
        row = {"id": self.world.new_id(), **columns}
        if table in ("flow", "work_pool", "work_queue", "deployment"):
            # What clear() of the tests takes away again begins so.
            row["id"] = f"11111111{str(row['id'])[8:]}"
        self.world.rows[table].append(row)
        return str(row["id"])

    def flow(self, name: str) -> str:
        return self.add("flow", name=name)

    def deployment(self, name: str, tags: Iterable[str] = (), flow: str = FLOW) -> str:
        return self.add("deployment", name=name, flow_id=flow, tags=list(tags))

    def queue(self, pool: str) -> str:
        """Add a work pool; returns its queue."""
        made = self.add("work_pool", name=pool, type="process")
        return self.add("work_queue", name="default", work_pool_id=made)

    def run(self, days: float, tags: Iterable[str] = (), **columns: Any) -> str:
        """Add a flow run that ended so many days ago."""
        ages = dict.fromkeys(DATES, NOW - timedelta(days=days))
        rest: dict[str, Any] = dict.fromkeys(("deployment_id", "work_queue_id"))
        rest |= {"flow_id": FLOW, "state_type": "COMPLETED", "parent_task_run_id": None}
        return self.add("flow_run", name="r", tags=list(tags), **ages, **{**rest, **columns})

    def task(self, run: str | None, days: float) -> str:
        """Add a task run that completed so many days ago."""
        ages = dict.fromkeys(DATES, NOW - timedelta(days=days))
        key = {"task_key": "t", "dynamic_key": self.world.new_id(), "state_type": "COMPLETED"}
        return self.add("task_run", name="t", flow_run_id=run, **key, **ages)

    def log(self, run: str | None, days: float, **columns: Any) -> str:
        row = {"name": "l", "level": 20, "message": "m", "task_run_id": None, **columns}
        return self.add("log", timestamp=NOW - timedelta(days=days), flow_run_id=run, **row)

    def artifact(self, run: str | None, days: float) -> str:
        row = {"key": None, "type": "markdown", "task_run_id": None, "flow_run_id": run}
        return self.add("artifact", created=NOW - timedelta(days=days), **row)

    def event(self, days: float, event: str, resource: str) -> str:
        """Add an event with a row for its resource."""
        at = NOW - timedelta(days=days)
        when = dict.fromkeys(("occurred", "received", "recorded"), at)
        about = {"resource_id": resource, "resource": {}}
        made = self.add("events", event=event, payload={}, **when, **about)
        self.add("event_resources", occurred=at, resource_role="x", event_id=made, **about)
        return made

    def put(self, engine: sa.Engine) -> None:
        """Write the rows down."""
        insert(engine, self.world)


def change(connection: sa.Connection, table: str, row: str, **columns: Any) -> None:
    """Change columns of a row, as somebody else who uses the server does."""
    postgresql = connection.dialect.name == "postgresql"
    for name, value in columns.items():
        bound = "CAST(:value AS jsonb)" if postgresql and name == "tags" else ":value"
        told = json.dumps(value) if name == "tags" else as_stored(connection.engine, value)
        sql = f"UPDATE {table} SET {name} = {bound} WHERE id = :id"
        assert connection.execute(sa.text(sql), {"value": told, "id": row}).rowcount == 1
