"""Runs that have been unfinished for a while, and what shows that they live."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from maintenance import FLOW, clear
from prefect_maintenance.plan.stuck import StuckRun
from prefect_maintenance.run.outcome import Outcome
from world import POLICY, Row, World, dump, insert

STUCK = {"RUNNING": 7, "PENDING": 2, "CANCELLING": 7, "PAUSED": 7, "LATE": 3}


def told(outcome: Outcome) -> dict[str, StuckRun]:
    """Return what a step reports of stuck runs, by their names."""
    return {run.name: run for run in outcome.report.stuck}


def states(engine: sa.Engine) -> dict[str, Any]:
    """Return the states of all runs that are there, by name."""
    found = dump(engine, ["flow_run"])["flow_run"].values()
    return {run["name"]: run["state_type"] for run in found}


@dataclass
class Unfinished:
    """Makes runs, all of them as old as their state unless something of them is younger."""

    engine: sa.Engine
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    world: World = field(default_factory=lambda: World(POLICY, 15))

    def ago(self, days: float) -> datetime:
        return self.now - timedelta(days=days)

    def run(
        self, name: str, state: str = "RUNNING", days: float = 9, worker: str = "", **columns: Any
    ) -> str:
        """Add a run that came into its state so many days ago."""
        run, entered, at = self.world.new_id(), self.world.new_id(), self.ago(days)
        named = columns.pop("state_name", state.capitalize())
        labels = {"prefect.worker.name": worker, "prefect.work-pool.name": "stuck-pool"}
        started = None if state in ("SCHEDULED", "PENDING") else at
        row: Row = {
            "id": run, "name": name, "flow_id": FLOW, "state_type": state, "state_name": named,
            "state_id": entered, "state_timestamp": at, "start_time": started, "created": at,
            "run_count": int(started is not None), "expected_start_time": at, "updated": at,
            "tags": "[]", "next_scheduled_start_time": at if state == "SCHEDULED" else None,
            "labels": json.dumps(labels if worker else {}), **columns,
        }  # fmt: skip
        self.world.rows["flow_run"].append(row)
        self.world.rows["flow_run_state"].append(
            {"id": entered, "flow_run_id": run, "type": state, "name": named, "timestamp": at}
        )
        return run

    def task(self, of: str | None, days: float = 9, state: str = "RUNNING") -> str:
        """Add a task run."""
        task, at = self.world.new_id(), self.ago(days)
        self.world.rows["task_run"].append(
            {"id": task, "name": "t", "flow_run_id": of, "task_key": "t", "dynamic_key": task,
             "state_type": state, "state_timestamp": at, "start_time": at, "created": at}
        )  # fmt: skip
        return task

    def log(self, of: str, days: float) -> None:
        self.world.rows["log"].append(
            {"id": self.world.new_id(), "name": "l", "level": 20, "message": "m",
             "timestamp": self.ago(days), "flow_run_id": of}
        )  # fmt: skip

    def artifact(self, of: str | None, days: float) -> None:
        """Add a progress bar that was updated so many days ago."""
        self.world.rows["artifact"].append(
            {"id": self.world.new_id(), "key": None, "type": "progress", "flow_run_id": of,
             "created": self.ago(9), "updated": self.ago(days)}
        )  # fmt: skip

    def event(self, of: str, days: float, event: str = "prefect.flow-run.heartbeat") -> None:
        event_id, at = self.world.new_id(), self.ago(days)
        named = {"resource_id": of if "." in of else f"prefect.flow-run.{of}", "resource": {}}
        self.world.rows["events"].append(
            {"id": event_id, "event": event, "occurred": at, "received": at, "recorded": at,
             "payload": {}, **named}
        )  # fmt: skip
        self.world.rows["event_resources"].append(
            {"id": self.world.new_id(), "occurred": at, "event_id": event_id, "resource_role": "",
             **named}
        )  # fmt: skip

    def insert(self) -> None:
        """Leave nothing in the database but what was added."""
        clear(self.engine)
        self.add()

    def add(self) -> None:
        """Write what was added beside what is in the database."""
        insert(self.engine, self.world)
