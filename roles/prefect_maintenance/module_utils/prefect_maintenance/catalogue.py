"""Prefect's tables: which are kept lean, by whom, and which are never touched.

Listed by hand on purpose: a table that a new Prefect version brings is unknown here until
somebody has decided about it, and an unknown table is never written to.
Source: the models in prefect.server.database.orm_models and the migrations beside them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A column that names a row of another table.

    `enforced` tells whether Prefect's schema declares the foreign key; SQLite enforces it only
    on connections that ask for it, so orphans of either kind are found there.
    """

    column: str
    table: str
    enforced: bool


@dataclass(frozen=True)
class Table:
    """One of the tables that are kept lean.

    Attributes:
        age: the column that dates a row, for the oldest row and for what is purged by age.
        entity: the name in the retention policy, or None where the row goes with its parent.
        deleted_by: "api", "sql", or "cascade" of its parent.
        parents: rows that its rows belong to, and cannot outlive unless `outlives` says so.
        outlives: whether a row stays until its own age when its parents are gone.
        repeats: the table whose newest row of each key its rows repeat.
        reclaim: whether a rewrite of the table is considered after the deletion.
    """

    name: str
    age: str
    entity: str | None
    deleted_by: str
    parents: tuple[Reference, ...] = ()
    outlives: bool = False
    repeats: str | None = None
    reclaim: bool = True

    @property
    def of_run(self) -> bool:
        """Whether its rows have an age of their own and stay while their run is unfinished."""
        return any(parent.table == FLOW_RUN.name and not parent.enforced for parent in self.parents)

    @property
    def goes_with(self) -> str | None:
        """The table with whose rows its own come and go; None where they have their own age."""
        for parent in self.parents:
            if self.entity is None or self.entity == BY_NAME[parent.table].entity:
                return parent.table
        return None

    @property
    def locked(self) -> bool:
        """Whether its rows are locked and asked about once more before they go."""
        return self.deleted_by == "api" and self.repeats is None

    @property
    def purged(self) -> bool:
        """Whether the purge writes to it whatever foreign keys are enforced."""
        return self.deleted_by == "sql" or self.repeats is not None


FLOW_RUN = Table("flow_run", age="end_time", entity="flow_runs", deleted_by="api")
FLOW_RUN_STATE = Table(
    "flow_run_state",
    age="timestamp",
    entity=None,
    deleted_by="cascade",
    parents=(Reference("flow_run_id", "flow_run", enforced=True),),
)
FLOW_RUN_INPUT = Table(
    "flow_run_input",
    age="created",
    entity=None,
    deleted_by="cascade",
    parents=(Reference("flow_run_id", "flow_run", enforced=True),),
    reclaim=False,
)
TASK_RUN = Table(
    "task_run",
    age="end_time",
    entity="task_runs",
    deleted_by="api",
    parents=(Reference("flow_run_id", "flow_run", enforced=True),),
)
TASK_RUN_STATE = Table(
    "task_run_state",
    age="timestamp",
    entity=None,
    deleted_by="cascade",
    parents=(Reference("task_run_id", "task_run", enforced=True),),
)
LOG = Table(
    "log",
    age="timestamp",
    entity="logs",
    deleted_by="sql",
    parents=(
        Reference("flow_run_id", "flow_run", enforced=False),
        Reference("task_run_id", "task_run", enforced=False),
    ),
)
EVENTS = Table("events", age="occurred", entity="events", deleted_by="sql")
EVENT_RESOURCES = Table(
    "event_resources",
    age="occurred",
    entity="events",
    deleted_by="sql",
    parents=(Reference("event_id", "events", enforced=False),),
)
ARTIFACT = Table(
    "artifact",
    age="created",
    entity="artifacts",
    deleted_by="api",
    parents=(
        Reference("flow_run_id", "flow_run", enforced=False),
        Reference("task_run_id", "task_run", enforced=False),
    ),
    outlives=True,
)
ARTIFACT_COLLECTION = Table(
    "artifact_collection",
    age="created",
    entity=None,
    deleted_by="api",
    repeats="artifact",
    reclaim=False,
)

# In the order in which people read of them.
TABLES = (
    LOG,
    EVENTS,
    EVENT_RESOURCES,
    FLOW_RUN,
    FLOW_RUN_STATE,
    FLOW_RUN_INPUT,
    TASK_RUN,
    TASK_RUN_STATE,
    ARTIFACT,
    ARTIFACT_COLLECTION,
)

BY_NAME = {table.name: table for table in TABLES}

EXCLUDED = {
    "agent": "configuration of the server",
    "alembic_version": "the schema's revision",
    "automation": "configuration of the server",
    "automation_bucket": "kept short by Prefect's triggers service",
    "automation_event_follower": "kept short by Prefect's triggers service",
    "automation_held_event": "kept short by Prefect's triggers service",
    "automation_related_resource": "configuration of the server",
    "block_document": "configuration of the server; deleting one deletes runs",
    "block_document_reference": "configuration of the server",
    "block_schema": "configuration of the server",
    "block_schema_reference": "configuration of the server",
    "block_type": "configuration of the server",
    "composite_trigger_child_firing": "kept short by Prefect's triggers service",
    "concurrency_limit": "live state of the server",
    "concurrency_limit_v2": "live state of the server",
    "configuration": "holds the server's encryption key",
    "csrf_token": "expired tokens are removed by Prefect",
    "deployment": "configuration of the server",
    "deployment_schedule": "configuration of the server",
    "deployment_version": "configuration of the server",
    "flow": "deleting a flow deletes its runs and deployments",
    "flow_run_notification_policy": "configuration of the server, before Prefect 3.4",
    "flow_run_notification_queue": "live state of the server, before Prefect 3.4",
    "saved_search": "configuration of the server",
    "task_run_state_cache": "cached results that runs still rely on",
    "variable": "configuration of the server",
    "work_pool": "configuration of the server",
    "work_queue": "configuration of the server",
    "worker": "live state of the server",
}

# Read beside the tables that are kept lean: whose database this is, and what makes the rows.
# Only these columns: the others hold what users store, values of variables and parameters.
READ_BESIDE = {
    "alembic_version": ("version_num",),
    "block_type": ("id",),
    "variable": ("id",),
    "flow": ("id", "name"),
    "deployment": ("id", "name", "flow_id", "tags", "updated"),
    "work_queue": ("id", "work_pool_id"),
    "work_pool": ("id", "name"),
}

# A database without these is not Prefect's.
TELLTALES = frozenset({"alembic_version", "deployment", FLOW_RUN.name, LOG.name})
# Where a column is that only Prefect 3 has.
SINCE_PREFECT_3 = ("automation_event_follower", "scope")

# Every revision since Prefect 3.4.0; a test derives them from the newest Prefect's migrations. The
# two lists differ because each dialect has its own chain.
REVISIONS = {
    "postgresql": frozenset(
        {
            "4160a4841eed",
            "1c9bb7f78263",
            "aa1234567890",
            "3b86c5ea017a",
            "9e83011d1f2a",
            "a1b2c3d4e5f6",
            "09a9e091e578",
            "7218aad17905",
            "bad1e352c597",
            "50737cdaee36",
            "9e9dadc36797",
            "c8d5f2a71b3e",
            "d4a7e1c93f52",
            "e7f54680bce3",
            "91e2b8f3d6a4",
        }
    ),
    "sqlite": frozenset(
        {
            "7655f31c5157",
            "3c841a1800a1",
            "bb2345678901",
            "8bb517bae6f9",
            "9e83011d1f2a",
            "a1b2c3d4e5f7",
            "4dfa692e02a7",
            "2095de406cbe",
            "79e7a60e43d8",
            "14806cb26270",
            "f416ea180ae1",
            "a3b9c7d2e5f1",
            "8f5eda7c1dd7",
            "27d8f4e1a6c9",
        }
    ),
}
