"""The filled database, the steps, and what a step does when nobody disturbs it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from maintenance import FLOW, clear, engine_for, request
from oracle import survivors
from world import AROUND, POLICY, SAME, TABLES, dump, insert, make_world

from lab import environments
from lab.postgres import PASSWORD, Postgres
from lab.server import migrate

from .neighbour import listening
from .place import Place
from .ruled import RULED_STAGE, add_ranked
from .scene import Rows, Scene
from .schema import Schemas
from .step import carry_out, small_pieces

OPTIONS = {"max_prepared_transactions": "20", "autovacuum": "off", "max_wal_size": "128MB"}
# Bytes that a cluster in memory may take, all processes' together.
_ROOM = 4 * 1024**3
TEMPLATE = "hostile_filled"

_SMALL = {"vacuum_min_bytes": 32768, "vacuum_min_percent": 10}
_REWRITE = {"purge_strategy": "rewrite", "batch_size": 500}
# So long ago that no event lies before it.
_LOGS_ONLY = {**SAME, "events": 3650}
# By the name that people see: the engine's step and what it is asked for.
STAGES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "purge by rewrite": ("purge", {**_REWRITE, "retention": _LOGS_ONLY}),
    "purge of events by rewrite": ("purge", _REWRITE),
    "purge by deletes": ("purge", {"purge_strategy": "delete", "batch_size": 500}),
    "delete by SQL": ("delete", {"run_delete_via": "sql", "batch_size": 10}),
    "vacuum by rewrite": ("vacuum", {"vacuum": "rewrite", **_SMALL}),
    "vacuum by compaction": ("vacuum", {"vacuum": "compact", **_SMALL}),
    "vacuum full": ("vacuum", {"vacuum": "full", **_SMALL}),
    **RULED_STAGE,
}

_CHEAP = f"SET scram_iterations = 1; ALTER ROLE postgres PASSWORD '{PASSWORD}'"
# There, event resources of events that are gone would have their table rewritten as well.
_READY = {
    "purge by rewrite": "DELETE FROM event_resources x WHERE NOT EXISTS "
    "(SELECT FROM events e WHERE e.id = x.event_id)"
}
# What happens to the logs there is another stage's.
_BESIDE_LOGS = "purge of events by rewrite"
_TOUCHES = re.compile(
    r"(DELETE FROM|UPDATE ONLY|LOCK TABLE|VACUUM [A-Z_(), ]*) ?log\b|REINDEX INDEX|FOR UPDATE"
)

# The first of them leave free pages at the beginning: whoever packs the table moves the others.
_LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(),
       CASE WHEN n <= 1500 THEN 'hole' WHEN n % 3 = 0 THEN 'old' WHEN n % 50 = 1 THEN 'spare'
            ELSE 'young' END,
       20, repeat('m', 200),
       CASE WHEN n <= 1500 OR n % 3 = 0 THEN timestamptz '2026-01-01 00:00:00+00'
            ELSE timestamptz '2026-06-29 00:00:00+00' END + n * interval '1 second'
FROM generate_series(1, 4500) n
"""


@dataclass(frozen=True)
class Stage:
    """A step that nobody disturbed: its statements and what it leaves.

    Attributes:
        sent: every statement that it sends, in their order.
        before: ids of each table before.
        left: ids of each table afterwards.
        logs: the logs that are left, in full.
        retried: the run that somebody may retry, its task runs and its logs.
    """

    name: str
    sent: tuple[Place, ...]
    before: Mapping[str, frozenset[str]]
    left: Mapping[str, frozenset[str]]
    logs: Rows
    young: tuple[str, ...]
    retried: frozenset[str]

    @cached_property
    def tense(self) -> tuple[Place, ...]:
        """The places from the first statement about what lies beside the logs to the last.

        Where nothing lies beside them, the places from the first that names them as a target.
        """
        if self.name == _BESIDE_LOGS:
            return ()
        ours = [n for n, place in enumerate(self.sent) if "log__maintenance_" in place.text]
        ours = ours or [n for n, place in enumerate(self.sent) if _TOUCHES.search(place.text)]
        return self.sent[ours[0] : ours[-1] + 2] if ours else self.sent

    @cached_property
    def calm(self) -> tuple[Place, ...]:
        """The other places, where the step only looks or is at other tables."""
        if self.name == _BESIDE_LOGS:
            return tuple(p for p in self.sent if p.tables and "log" not in p.tables)
        tense = set(self.tense)
        return tuple(p for p in self.sent if p not in tense or not p.concerns({"log"}))

    @property
    def midway(self) -> Place | None:
        """The place where a part of the logs is copied and the rest is not."""
        copying = [p for p in self.tense if p.text.startswith("INSERT INTO log__maintenance_")]
        return next((place for place in copying if place.time == 2), None)

    @property
    def swap(self) -> Place | None:
        """The place where the step is about to keep everybody out of the logs."""
        last = [p for p in self.tense if "LOCK TABLE" in p.text and "ACCESS EXCLUSIVE" in p.text]
        return next((p for p in last if re.search(r"\blog IN ", p.text)), None)


@dataclass
class Theatre:
    """A cluster with a filled database, and the stages that were looked at so far."""

    cluster: Postgres
    in_memory: bool = False
    stages: dict[str, Stage] = field(default_factory=dict)
    number: int = 0

    @cached_property
    def schemas(self) -> Schemas:
        """The schemas that are right here."""
        return Schemas(self.cluster)

    def fill(self, template: str) -> None:
        """Make the filled database from one that has Prefect's schema."""
        url = self.cluster.create_database(TEMPLATE, template)
        engine = engine_for(url)
        clear(engine)
        world = make_world(POLICY, 23, flow=FLOW, size=40, foreign_keys=True)
        old = POLICY.now - timedelta(days=60)
        ages = dict.fromkeys(("end_time", "state_timestamp", "start_time"), old)
        world.run("flow_run", "flow_runs", flow_id=FLOW)
        retried = world.rows["flow_run"][-1]
        retried.update(
            name="to be retried", state_type="COMPLETED", parent_task_run_id=None, **ages
        )
        add_ranked(world, retried)
        for number in range(3):
            world.run(
                "task_run", "task_runs", flow_run_id=retried["id"], task_key="t",
                dynamic_key=str(number),
            )  # fmt: skip
            world.rows["task_run"][-1].update(state_type="COMPLETED", **ages)
        for _ in range(60):
            world.rows["log"].append(
                {
                    "id": world.new_id(), "name": "l", "level": 20, "message": "of the retried",
                    "timestamp": old, "flow_run_id": retried["id"],
                }
            )  # fmt: skip
        insert(engine, world)
        engine.dispose()
        for sql in (
            _LOGS,
            "DELETE FROM log WHERE name = 'hole'",
            # Some twenty sessions a case need not prove each time that they know a password.
            *([_CHEAP] if int(self.cluster.version) >= 16 else []),
            "CREATE ROLE their_role; CREATE ROLE their_reader",
            "GRANT SELECT ON log TO their_reader; ANALYZE",
        ):
            self.cluster.execute(sql, TEMPLATE)

    @contextmanager
    def copy(self) -> Iterator[str]:
        """Lend a copy of the filled database."""
        self.number += 1
        name = f"hostile_{self.number}"
        # The other strategy writes the copy to the WAL as well.
        how = "STRATEGY file_copy" if self.in_memory else ""
        self.cluster.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} {how}")
        try:
            yield name
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Remove a copy, and transactions that somebody left prepared in it."""
        left = "SELECT gid FROM pg_prepared_xacts WHERE database = %s"
        for (gid,) in self.cluster.execute(left, values=[name]):
            self.cluster.execute(f"ROLLBACK PREPARED '{gid}'", name)
        self.cluster.drop_database(name)

    def stage(self, name: str) -> Stage:
        """Return what a step does undisturbed; the first time it is carried out for that."""
        if name not in self.stages:
            self.stages[name] = self._dry(name)
        return self.stages[name]

    def scene(self, stage: Stage, name: str) -> Scene:
        """Set a scene on a copy."""
        step, request = self.made_ready(stage.name, name)
        kept = frozenset(stage.logs) - stage.retried
        return Scene(self.cluster, name, step, request, kept, stage.retried)

    def made_ready(self, stage: str, name: str) -> tuple[str, dict[str, Any]]:
        """Make a copy what a stage begins with; returns the engine's step and its request."""
        if stage in _READY:
            self.cluster.execute(_READY[stage], name)
        return asked(stage, self.cluster.url(name))

    def know(self, statements: tuple[str, ...]) -> None:
        """Learn the schema that statements make where nobody else is."""
        if statements not in self.schemas.dumps:
            with self.copy() as name:
                for sql in statements:
                    self.cluster.execute(sql, name)
                self.schemas.learn(statements, name)

    def _dry(self, name: str) -> Stage:
        with self.copy() as copy:
            step, request = self.made_ready(name, copy)
            scene = Scene(self.cluster, copy, step, request, frozenset())
            engine = engine_for(scene.url)
            whole = dump(engine, (*TABLES, *AROUND))
            before = {table: frozenset(scene.ids(table)) for table in TABLES}
            retried = scene.ask(
                "WITH r AS (SELECT id FROM flow_run WHERE name = 'to be retried') "
                "SELECT id::text FROM r UNION ALL SELECT x.id::text FROM task_run x "
                "WHERE x.flow_run_id IN (SELECT id FROM r) UNION ALL "
                "SELECT x.id::text FROM log x WHERE x.flow_run_id IN (SELECT id FROM r)"
            )
            young = scene.ask("SELECT id::text FROM log WHERE name = 'young' ORDER BY id")
            sent: list[Place] = []
            with small_pieces(), listening(lambda place, _: sent.append(place)):
                outcome = carry_out(step, request)
            if outcome.error:
                raise outcome.error
            left = {table: frozenset(scene.ids(table)) for table in TABLES}
            logs = scene.logs()
            engine.dispose()
        # The oracle shares no code with the engine: nothing that it keeps may be gone.
        days, rules = request.get("retention", SAME), tuple(request.get("rules", ()))
        policy = replace(POLICY, days=days, rules=rules)
        promised = survivors(whole, policy)
        for table in ("flow_run", "task_run", "log", "artifact", "events", "event_resources"):
            wrong = set(promised[table]) - left[table]
            assert not wrong, f"{name}: {len(wrong)} rows of {table} are gone without any party"
        if step == "purge":
            cutoff = policy.cutoff("logs")
            freed = {i for i, row in whole["log"].items() if row["timestamp"] < cutoff}
            assert freed - left["log"] >= freed - set(promised["log"]), f"{name} left old logs"
        return Stage(
            name=name,
            sent=tuple(sent),
            before=before,
            left=left,
            logs=logs,
            young=tuple(row for (row,) in young),
            retried=frozenset(row for (row,) in retried),
        )


@contextmanager
def lend() -> Iterator[Theatre]:
    """Lend a theatre, its cluster in memory where that has room."""
    memory = Path("/dev/shm")
    room = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM
    version = os.environ.get("LAB_POSTGRES", "18")
    with Postgres(version, OPTIONS, folder=memory if room else None) as cluster:
        migrate(cluster.create_database("migrated"), environments.NEWEST)
        found = Theatre(cluster, in_memory=room and int(version) >= 15)
        found.fill("migrated")
        yield found


def asked(stage: str, url: str) -> tuple[str, dict[str, Any]]:
    """Return the engine's step and its request."""
    step, more = STAGES[stage]
    return step, request(url, **{"lock_timeout": 0.5, **more})
