"""Flows, deployments, work pools and runs with tags, as rules and holds look at them."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from world import NOW, as_stored, dump

OLD, YOUNG = NOW - timedelta(days=60), NOW - timedelta(days=1)
RUN = """
INSERT INTO flow_run (id, created, updated, flow_id, deployment_id, work_queue_id,
                      parent_task_run_id, name, state_type, state_timestamp, end_time, tags)
VALUES (:id, :at, :at, :flow, :deployment, :queue, :parent, 'r', :state, :at, :at, {tags})
"""
TASK = """
INSERT INTO task_run (id, flow_run_id, name, task_key, dynamic_key, state_type, end_time)
VALUES (:id, :run, 't', 't', :id, 'COMPLETED', :at)
"""
LOG = """
INSERT INTO log (id, name, level, message, flow_run_id, timestamp)
VALUES (:id, 'l', 20, 'm', :run, :at)
"""
ARTIFACT = """
INSERT INTO artifact (id, type, flow_run_id, created) VALUES (:id, 'markdown', :run, :at)
"""


class Site:
    """Flows, deployments, work pools and runs, written by hand; a run is old and completed."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def write(self, sql: str, **values: Any) -> str:
        """Write a row, and return its id."""
        values = {"id": str(uuid.uuid4()), **values}
        stored = {name: as_stored(self.engine, value) for name, value in values.items()}
        with self.engine.begin() as connection:
            connection.execute(sa.text(sql), stored)
        return str(values["id"])

    def write_many(self, sql: str, rows: list[dict[str, Any]]) -> None:
        stored = [
            {"id": str(uuid.uuid4())}
            | {name: as_stored(self.engine, value) for name, value in row.items()}
            for row in rows
        ]
        with self.engine.begin() as connection:
            connection.execute(sa.text(sql), stored)

    def flow(self, name: str) -> str:
        name = f"{name}-{uuid.uuid4()}" if name == "any" else name
        with self.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM flow WHERE name = :name"), {"name": name})
        return self.write("INSERT INTO flow (id, name) VALUES (:id, :name)", name=name)

    def deployment(self, flow: str, name: str, tags: str = "[]") -> str:
        sql = (
            "INSERT INTO deployment (id, updated, flow_id, name, tags) "
            f"VALUES (:id, :at, :flow, :name, {self.json('tags')})"
        )
        return self.write(sql, flow=flow, name=name, tags=tags, at=OLD)

    def queue(self, pool: str) -> str:
        with self.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM work_pool WHERE name = :name"), {"name": pool})
        sql = (
            "INSERT INTO work_pool (id, name, type, base_job_template) "
            f"VALUES (:id, :name, 'process', {self.json('job')})"
        )
        made = self.write(sql, name=pool, job="{}")
        sql = "INSERT INTO work_queue (id, name, work_pool_id) VALUES (:id, 'default', :pool)"
        return self.write(sql, pool=made)

    def run(
        self,
        flow: str,
        *,
        deployment: str | None = None,
        queue: str | None = None,
        parent: str | None = None,
        state: str | None = "COMPLETED",
        at: datetime = OLD,
        tags: str = "[]",
    ) -> str:
        sql = RUN.format(tags=self.json("tags"))
        told = {"deployment": deployment, "queue": queue, "parent": parent}
        return self.write(sql, flow=flow, state=state, at=at, tags=tags, **told)

    def tag(self, table: str, row: str, tags: str) -> None:
        """Give a row other tags, as Prefect does."""
        sql = f"UPDATE {table} SET tags = {self.json('tags')}, updated = :now WHERE id = :id"
        self.write(sql, id=row, tags=tags, now=datetime.now(NOW.tzinfo))

    def json(self, name: str) -> str:
        return f"CAST(:{name} AS jsonb)" if self.engine.dialect.name == "postgresql" else f":{name}"


def left(site: Site, table: str = "flow_run") -> set[str]:
    return set(dump(site.engine, [table])[table])
