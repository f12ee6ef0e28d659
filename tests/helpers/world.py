"""A small random Prefect world, how it is written to a database, and how it is read back."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

TERMINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")
MICROSECOND = timedelta(microseconds=1)
KEYS = {"artifact_collection": "key"}
TIMES = (
    *("created", "updated", "timestamp", "occurred", "received", "recorded", "end_time"),
    *("state_timestamp", "start_time", "expected_start_time", "next_scheduled_start_time"),
)
# What runs belong to; no step of the engine changes a row of it.
AROUND = ("flow", "work_pool", "work_queue", "deployment")
TABLES = (
    *("flow_run", "flow_run_state", "flow_run_input", "task_run", "task_run_state"),
    *("log", "artifact", "artifact_collection", "events", "event_resources"),
)

Row = dict[str, Any]
Dump = dict[str, dict[str, Row]]


@dataclass(frozen=True)
class Policy:
    """What the tests ask the engine for, in the tests' own words."""

    now: datetime
    days: Mapping[str, int]
    states: tuple[str, ...] = ("COMPLETED", "FAILED", "CANCELLED")
    rules: tuple[Row, ...] = ()
    event_rules: tuple[Row, ...] = ()
    log_rules: tuple[Row, ...] = ()
    hold_tags: tuple[str, ...] | None = None

    def cutoff(self, entity: str) -> datetime:
        return self.now - timedelta(days=self.days[entity])

    def request(self) -> dict[str, Any]:
        return {
            "reference_time": self.now.isoformat(),
            "retention": dict(self.days),
            "states": list(self.states),
            **self.ruled,
        }

    @property
    def ruled(self) -> dict[str, Any]:
        """The options of rules and holds; none where the old variables say all."""
        told = {k: list(getattr(self, k)) for k in ("rules", "event_rules", "log_rules")}
        holds = {} if self.hold_tags is None else {"hold_tags": list(self.hold_tags)}
        return {**{k: v for k, v in told.items() if v}, **holds}


NOW = datetime(2026, 6, 30, 12, 0, tzinfo=UTC)
# Every entity for as many days.
SAME = dict.fromkeys(("flow_runs", "task_runs", "artifacts", "logs", "events"), 15)
POLICY = Policy(NOW, SAME)


@dataclass
class World:
    """Rows to insert, table by table."""

    policy: Policy
    seed: int
    rows: dict[str, list[Row]] = field(default_factory=lambda: {t: [] for t in (*AROUND, *TABLES)})

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def instant(self, entity: str) -> datetime:
        """Choose an instant around the entity's cutoff, often exactly on the edge."""
        cutoff = self.policy.cutoff(entity)
        return self.random.choice(
            (
                cutoff,
                cutoff - MICROSECOND,
                cutoff + MICROSECOND,
                cutoff - timedelta(hours=self.random.randint(1, 900)),
                cutoff + timedelta(minutes=self.random.randint(1, 600)),
                self.policy.now - timedelta(minutes=self.random.choice((59, 60, 61))),
            )
        )

    def run(self, table: str, entity: str, **columns: Any) -> str:
        """Add a flow run or task run whose age stands in a random one of the four columns."""
        state = self.random.choice((*TERMINAL, *TERMINAL, *UNFINISHED, None))
        at = self.instant(entity)
        names = ("end_time", "state_timestamp", "start_time", "expected_start_time")
        ages: Row = dict.fromkeys(names)
        first = self.random.randint(0, 3) if self.random.random() < 0.4 else 0
        ages[names[first]] = at
        for later in names[first + 1 :]:
            if self.random.random() < 0.7:
                ages[later] = at + timedelta(days=self.random.choice((-40, 40)))
        if self.random.random() < 0.03:
            ages = dict.fromkeys(ages)
        row = {"id": self.new_id(), "name": "r", "state_type": state, **ages, "created": at}
        self.rows[table].append({**row, "updated": at, **columns})
        return str(row["id"])


def make_world(policy: Policy, seed: int, *, flow: str, size: int, foreign_keys: bool) -> World:
    """Make trees of runs and everything that may hang on them or float free."""
    w = World(policy, seed)
    gone_run, gone_task, gone_event = w.new_id(), w.new_id(), w.new_id()
    runs, tasks = _make_runs(w, flow, size)
    for table, parents in (("flow_run_state", runs), ("task_run_state", tasks)):
        _make_states(w, table, parents if foreign_keys else [*parents, w.new_id()])
    for _ in range(size * 4):
        _make_log(w, runs, tasks, gone_run, gone_task)
    keys = [f"key-{n}" for n in range(max(3, size // 8))]
    for _ in range(size):
        w.rows["artifact"].append(
            {
                "id": w.new_id(),
                "key": w.random.choice((None, *keys)),
                "type": "markdown",
                "created": w.instant("artifacts"),
                "flow_run_id": w.random.choice((None, gone_run, *w.random.choices(runs, k=4))),
                "task_run_id": w.random.choice((None, gone_task, w.random.choice(tasks))),
            }
        )
    for key in keys:
        _make_collection(w, key)
    for _ in range(size * 2):
        _make_event(w, gone_event)
    return w


def _make_runs(w: World, flow: str, size: int) -> tuple[list[str], list[str]]:
    """Make flow runs, subflows, their task runs and inputs, and task runs of no flow run."""
    runs: list[str] = []
    tasks: list[str] = []
    for _ in range(size):
        parent = w.random.choice(tasks) if tasks and w.random.random() < 0.4 else None
        run = w.run("flow_run", "flow_runs", flow_id=flow, parent_task_run_id=parent)
        runs.append(run)
        for n in range(w.random.randint(0, 3)):
            tasks.append(
                w.run("task_run", "task_runs", flow_run_id=run, task_key="t", dynamic_key=str(n))
            )
        if w.random.random() < 0.3:
            stamp = w.instant("flow_runs")
            w.rows["flow_run_input"].append(
                {"id": w.new_id(), "key": "k", "value": "v", "flow_run_id": run, "created": stamp}
            )
    for n in range(size // 4):
        tasks.append(
            w.run("task_run", "task_runs", flow_run_id=None, task_key="t", dynamic_key=f"free{n}")
        )
    return runs, tasks


def _make_states(w: World, table: str, parents: Iterable[str]) -> None:
    column = table.removesuffix("_state") + "_id"
    for parent in parents:
        for n in range(w.random.randint(1, 2)):
            stamp = w.instant("flow_runs") + timedelta(seconds=n)
            row = {"id": w.new_id(), "type": "COMPLETED", "timestamp": stamp, "name": "s"}
            w.rows[table].append({**row, column: parent})


def _make_log(w: World, runs: list[str], tasks: list[str], gone_run: str, gone_task: str) -> None:
    run = w.random.choice((None, gone_run, *w.random.choices(runs, k=4)))
    own = [t["id"] for t in w.rows["task_run"] if t["flow_run_id"] == run]
    task = w.random.choice((None, gone_task, *w.random.choices(own or [None], k=2)))
    if run is None and w.random.random() < 0.5:
        task = w.random.choice(tasks)
    w.rows["log"].append(
        {
            "id": w.new_id(),
            "name": "l",
            "level": 20,
            "message": "m",
            "timestamp": w.instant("logs"),
            "flow_run_id": run,
            "task_run_id": task,
        }
    )


def _make_collection(w: World, key: str) -> None:
    own = [a for a in w.rows["artifact"] if a["key"] == key]
    newest = max(own, key=lambda a: (a["created"], a["id"]), default=None)
    stale = newest is None or w.random.random() < 0.2
    latest = w.new_id() if stale else newest and newest["id"]
    w.rows["artifact_collection"].append(
        {"id": w.new_id(), "key": key, "latest_id": latest, "type": "markdown"}
    )


def _make_event(w: World, gone_event: str) -> None:
    event = w.new_id()
    occurred = w.instant("events")
    w.rows["events"].append(
        {
            "id": event,
            "occurred": occurred,
            "received": occurred,
            "recorded": occurred,
            "event": "e",
            "resource_id": "r",
            "resource": {},
            "payload": {},
        }
    )
    for _ in range(w.random.randint(0, 2)):
        w.rows["event_resources"].append(
            {
                "id": w.new_id(),
                "occurred": occurred if w.random.random() < 0.9 else w.instant("events"),
                "resource_id": "r",
                "resource_role": "x",
                "resource": {},
                "event_id": gone_event if w.random.random() < 0.1 else event,
            }
        )


def insert(engine: sa.Engine, world: World) -> None:
    """Write the world down, with foreign keys asleep: runs and tasks refer to each other."""
    metadata = sa.MetaData()
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        else:
            # The column's default in SQLite is a text that Prefect itself cannot read back.
            for row in (*world.rows["flow_run"], *world.rows["task_run"]):
                row["total_run_time"] = "1970-01-01 00:00:00.000000"
        for table in world.rows:
            if not world.rows[table]:
                continue
            shape = sa.Table(table, metadata, autoload_with=connection, resolve_fks=False)
            names = {name for row in world.rows[table] for name in row} & set(shape.columns.keys())
            complete = [
                {n: as_stored(engine, row.get(n)) for n in names} for row in world.rows[table]
            ]
            connection.execute(
                sa.text(
                    f"INSERT INTO {table} ({', '.join(sorted(names))}) "
                    f"VALUES ({', '.join(_bind(engine, n, shape) for n in sorted(names))})"
                ),
                complete,
            )


def _bind(engine: sa.Engine, name: str, shape: sa.Table) -> str:
    if engine.dialect.name != "postgresql":
        return f":{name}"
    kind = shape.columns[name].type.compile(engine.dialect)
    return f"CAST(:{name} AS {kind})"


def as_stored(engine: sa.Engine, value: Any) -> Any:
    """Write a value as Prefect stores it in this dialect."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, datetime) and engine.dialect.name == "sqlite":
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def dump(engine: sa.Engine, tables: Iterable[str] = TABLES) -> Dump:
    """Read every row of the tables, keyed by id, with times as instants in UTC."""
    found: Dump = {}
    with engine.connect() as connection:
        for table in tables:
            key = KEYS.get(table, "id")
            result = connection.execute(sa.text(f"SELECT * FROM {table}"))
            found[table] = {}
            for record in result.mappings():
                row = {name: _read(name, value) for name, value in record.items()}
                found[table][str(row[key])] = row
    return found


def _read(name: str, value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if name in TIMES and isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if name == "tags" and isinstance(value, str):
        return json.loads(value)
    return value
