"""The filled database, the steps, and what a step does when nobody disturbs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from maintenance import FLOW, clear, engine_for, request, wait_until
from oracle import survivors
from prefect_maintenance.execute import copy
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.run.outcome import Outcome
from world import AROUND, POLICY, TABLES, dump, insert, make_world

from lab.postgres import PASSWORD, Postgres

from .neighbour import Place, listening
from .ruled import RULED_STAGE, add_ranked
from .scene import LIMIT, OURS, Rows, Scene

OPTIONS = {"max_prepared_transactions": "20", "autovacuum": "off"}
# So small that the logs are copied in several pieces.
PIECE = 500
TEMPLATE = "hostile_filled"

_SMALL = {"vacuum_min_bytes": 32768, "vacuum_min_percent": 10}
# By the name that people see: the engine's step and what it is asked for.
STAGES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "purge by rewrite": ("purge", {"purge_strategy": "rewrite", "batch_size": 500}),
    "purge by deletes": ("purge", {"purge_strategy": "delete", "batch_size": 500}),
    "delete by SQL": ("delete", {"run_delete_via": "sql", "batch_size": 10}),
    "vacuum by rewrite": ("vacuum", {"vacuum": "rewrite", **_SMALL}),
    "vacuum by compaction": ("vacuum", {"vacuum": "compact", **_SMALL}),
    "vacuum full": ("vacuum", {"vacuum": "full", **_SMALL}),
    **RULED_STAGE,
}

_TOUCHES = re.compile(r"(DELETE FROM|VACUUM [A-Z(), ]*) ?log\b")

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
        places: where others can act, in the order in which the step comes to them.
        before: ids of each table before.
        left: ids of each table afterwards.
        logs: the logs that are left, in full.
        retried: the run that somebody may retry, its task runs and its logs.
    """

    name: str
    places: tuple[Place, ...]
    before: Mapping[str, frozenset[str]]
    left: Mapping[str, frozenset[str]]
    logs: Rows
    young: tuple[str, ...]
    retried: frozenset[str]

    @property
    def tense(self) -> tuple[Place, ...]:
        """The places from the first statement about what lies beside the logs to the last.

        Where nothing lies beside them, the places from the first that names them as a target.
        """
        ours = [n for n, place in enumerate(self.places) if "log__maintenance_" in place.text]
        ours = ours or [n for n, place in enumerate(self.places) if _TOUCHES.search(place.text)]
        return self.places[ours[0] : ours[-1] + 2] if ours else self.places

    @property
    def midway(self) -> Place | None:
        """The place where a part of the logs is copied and the rest is not."""
        copying = [p for p in self.places if p.text.startswith("INSERT INTO log__maintenance_")]
        return next((place for place in copying if place.time == 2), None)

    @property
    def swap(self) -> Place | None:
        """The place where the step is about to keep everybody out of the logs."""
        last = [p for p in self.places if "LOCK TABLE" in p.text and "ACCESS EXCLUSIVE" in p.text]
        return next((p for p in last if re.search(r"\blog IN ", p.text)), None)


@dataclass
class Theatre:
    """A cluster with a filled database, and the stages that were looked at so far."""

    cluster: Postgres
    stages: dict[str, Stage] = field(default_factory=dict)
    schemas: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    number: int = 0

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
            "CREATE ROLE their_role; CREATE ROLE their_reader",
            "GRANT SELECT ON log TO their_reader; ANALYZE",
        ):
            self.cluster.execute(sql, TEMPLATE)

    @contextmanager
    def copy(self) -> Iterator[str]:
        """Lend a copy of the filled database."""
        self.number += 1
        name = f"hostile_{self.number}"
        self.cluster.create_database(name, TEMPLATE)
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
        step, request = asked(stage.name, self.cluster.url(name))
        kept = frozenset(stage.logs) - stage.retried
        return Scene(self.cluster, name, step, request, kept, stage.retried)

    def schema(self, name: str) -> list[str]:
        """Return the lines of a dump of the schema, in an order that object ids do not change."""
        done = subprocess.run(
            [self.cluster.program("pg_dump"), "-s", "-h", "127.0.0.1",
             "-p", str(self.cluster.port), "-U", "postgres", name],
            env={"PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        # Newer versions put a random word around the dump.
        return sorted(line for line in done.stdout.splitlines() if "restrict " not in line)

    def expected_schema(self, statements: tuple[str, ...]) -> list[str]:
        """Return the schema as a party makes it where nobody else is."""
        if statements not in self.schemas:
            with self.copy() as name:
                for sql in statements:
                    self.cluster.execute(sql, name)
                self.schemas[statements] = self.schema(name)
        return self.schemas[statements]

    def _dry(self, name: str) -> Stage:
        with self.copy() as copy:
            step, request = asked(name, self.cluster.url(copy))
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
            places: dict[Place, None] = {}
            with small_pieces(), listening(lambda place, _: places.setdefault(place)):
                outcome = carry_out(step, request)
            if outcome.error:
                raise outcome.error
            left = {table: frozenset(scene.ids(table)) for table in TABLES}
            logs = scene.logs()
            engine.dispose()
        # The oracle shares no code with the engine: nothing that it keeps may be gone.
        promised = survivors(whole, replace(POLICY, rules=tuple(request.get("rules", ()))))
        for table in ("flow_run", "task_run", "log", "artifact", "events", "event_resources"):
            wrong = set(promised[table]) - left[table]
            assert not wrong, f"{name}: {len(wrong)} rows of {table} are gone without any party"
        if step == "purge":
            cutoff = POLICY.cutoff("logs")
            freed = {i for i, row in whole["log"].items() if row["timestamp"] < cutoff}
            assert freed - left["log"] >= freed - set(promised["log"]), f"{name} left old logs"
        return Stage(
            name=name,
            places=tuple(places),
            before=before,
            left=left,
            logs=logs,
            young=tuple(row for (row,) in young),
            retried=frozenset(row for (row,) in retried),
        )


def asked(stage: str, url: str) -> tuple[str, dict[str, Any]]:
    """Return the engine's step and its request."""
    step, more = STAGES[stage]
    return step, request(url, **{"lock_timeout": 0.5, **more})


def carry_out(step: str, asked: Mapping[str, Any]) -> Outcome:
    """Carry out a step; what keeps it from beginning is raised."""
    return STEPS[step](Settings.parse(asked, check=False), Pace())


@contextmanager
def small_pieces() -> Iterator[None]:
    """Let a rewrite copy in pieces of some hundred rows."""
    usual = copy._PIECE
    copy._PIECE = PIECE
    try:
        yield
    finally:
        copy._PIECE = usual


def kill_at(scene: Scene, place: Place) -> bool:
    """Carry out the step in a process that is killed at a place; tells whether it got there."""
    paths = f"import sys; sys.path[:0] = {sys.path!r}"
    code = f"{paths}; from tests.hostile.stage import child; child()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        told = {
            "step": scene.step, "request": scene.request, "text": place.text, "time": place.time
        }  # fmt: skip
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        came = process.stdout.readline() == "here\n"
        process.kill()
    ours = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        f"AND application_name LIKE '{OURS}'"
    )
    wait_until(lambda: not scene.ask(ours), LIMIT, "the session of a killed process lives on")
    return came


def child() -> None:
    """Carry out what standard input says, and stay for ever at the place that it names."""
    told = json.loads(sys.stdin.readline())
    place = Place(told["text"], told["time"])

    def heard(now: Place, _at: int) -> None:
        if now == place:
            print("here", flush=True)
            sys.stdin.read()

    with small_pieces(), listening(heard):
        carry_out(told["step"], told["request"])
    print("done", flush=True)
