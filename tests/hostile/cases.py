"""One case: a step, a party, and the statement at which it acts; then what must be true."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from maintenance import SmallDisk, small_disk, wait_until
from prefect_maintenance.errors import MaintenanceError
from prefect_maintenance.run.outcome import Outcome

from lab.postgres import Postgres

from .force import FORCE
from .neighbour import Visit, visiting
from .parties import ADMINISTRATORS, Party
from .people import PEOPLE
from .place import Place
from .ruled import RULERS
from .scene import COUNTED, LIMIT, OURS, Scene, Writer
from .stage import TEMPLATE, Stage, Theatre
from .step import carry_out, kill_at, small_pieces
from .turns import matters

PARTIES = {party.name: party for party in (*ADMINISTRATORS, *PEOPLE, *FORCE, *RULERS)}


@dataclass(frozen=True)
class Result:
    """What a case showed: its failures, none when all is well."""

    stage: str
    party: str
    place: str
    failures: tuple[str, ...]
    seconds: float
    waited: float
    came: bool
    error: str


def missing(party: Party, cluster: Postgres) -> str | None:
    """Say what a party needs that this PostgreSQL has not."""
    if party.needs == "repack" and not Path(cluster.program("pg_repack")).exists():
        return f"PostgreSQL {cluster.version} is here without pg_repack; test_repack.py brings one"
    return None


def chosen(stage: Stage, party: Party, number: int) -> Place:
    """Choose a place for a party, always the same while the statements are the same.

    The first is in the middle of the copy and the second just before the swap, where there are.
    """
    known = {0: stage.midway, 1: stage.swap}.get(number)
    if known:
        return known
    places = [place for place in stage.tense if place.time == 1 and matters(party, place)]
    digest = hashlib.sha256(f"{stage.name}/{party.name}/{number}".encode()).digest()
    return places[int.from_bytes(digest[:4], "big") % len(places)]


def play(theatre: Theatre, stage: Stage, party: Party, place: Place, patience: float) -> Result:
    """Play one case.

    Args:
        theatre: where.
        stage: the step.
        party: who acts.
        place: at which statement.
        patience: seconds that a party may wait for the step.
    """
    began = time.monotonic()
    with _scene(theatre, stage, party) as scene:
        for sql in party.before:
            scene.ask(sql.format(name=scene.name))
        played = _play(scene, stage, party, place)
        visit, error, failures = played.visit, played.error, played.failures
        if visit.error:
            failures.append(f"{party.name} failed: {' '.join(str(visit.error).split())}")
        if visit.waited > patience:
            failures.append(f"{party.name} waited {visit.waited:.1f} s")
        if visit.stubborn and place == stage.midway:
            failures.append(f"{party.name} waited for a session that does not give way")
        failures += _told(scene, stage, party, played)
        failures += _rows(scene, stage)
        failures += _left_over(scene)
        schema = party.schema if visit.came and not visit.error else ()
        theatre.know(schema)
        if other := theatre.schemas.differs(schema, scene.name):
            failures.append(other)
        failures += scene.errors
    return Result(
        stage=stage.name,
        party=party.name,
        place=str(place),
        failures=tuple(failures),
        seconds=time.monotonic() - began,
        waited=visit.waited,
        came=visit.came,
        error=f"{type(error).__name__}: {error}" if error else "",
    )


@dataclass
class _Played:
    """What came of a step at which a party acted."""

    visit: Visit = field(default_factory=Visit)
    outcome: Outcome | None = None
    error: Exception | None = None
    failures: list[str] = field(default_factory=list)


def _play(scene: Scene, stage: Stage, party: Party, place: Place) -> _Played:
    """Carry out the step beside a writer, and let the party act and end what it began."""
    played = _Played()
    watchdog = threading.Timer(LIMIT, _end, (scene, played.failures))
    watchdog.daemon = True
    watchdog.start()
    with Writer(scene, list(stage.young)), _threads_heard(scene):
        wait_until(lambda: bool(scene.there), LIMIT, "the writer did not begin")
        try:
            if party.child:
                played.visit.came = kill_at(scene, place)
            else:
                with small_pieces(), visiting(scene, place, party.act) as played.visit:
                    try:
                        played.outcome = carry_out(scene.step, scene.request)
                        played.error = played.outcome.error
                    except MaintenanceError as refused:
                        played.error = refused
        except Exception as crash:
            played.failures.append(f"crashed: {type(crash).__name__}: {crash}")
        watchdog.cancel()
        scene.over.set()
        for end in reversed(scene.ending):
            try:
                end()
            except Exception as failed:
                played.failures.append(
                    f"afterwards {party.name} met {type(failed).__name__}: {failed}"
                )
    return played


def _told(scene: Scene, stage: Stage, party: Party, played: _Played) -> list[str]:
    """Compare what the step says with what it did, and let the next run finish what it left."""
    failures = []
    outcome, error = played.outcome, played.error
    if outcome and not scene.unsure:
        failures += _untrue(scene, stage, outcome)
    left = _objects(scene)
    if left and outcome and not (outcome.error or outcome.report.warnings):
        failures.append(f"the step left {', '.join(left)} and says nothing")
    if left and not (error or party.interrupts):
        failures.append(f"left over: {', '.join(left)}")
    if error or left or party.child or played.failures or failures:
        failures += _again(scene)
    return failures


@contextmanager
def _scene(theatre: Theatre, stage: Stage, party: Party) -> Iterator[Scene]:
    if party.needs != "disk":
        with theatre.copy() as name:
            scene = theatre.scene(stage, name)
            yield scene
            scene.close()
        return
    theatre.number += 1
    name = f"hostile_{theatre.number}"
    disk: SmallDisk
    with small_disk(theatre.cluster, TEMPLATE, name) as disk:
        scene = theatre.scene(stage, name)
        scene.disk = disk
        yield scene
        scene.close()


@contextmanager
def _threads_heard(scene: Scene) -> Iterator[None]:
    """Note what ends a thread, which else only shows on the screen."""
    usual = threading.excepthook

    def note(ended: threading.ExceptHookArgs) -> None:
        scene.errors.append(f"a thread crashed: {ended.exc_type.__name__}: {ended.exc_value}")

    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = usual


def _end(scene: Scene, failures: list[str]) -> None:
    failures.append(f"the step had not ended after {LIMIT:g} s")
    scene.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = current_database() AND application_name LIKE '{OURS}'"
    )


def _untrue(scene: Scene, stage: Stage, outcome: Outcome) -> list[str]:
    """Compare the report with the rows that left each table."""
    failures = []
    really = {}
    for table in COUNTED:
        there = len(stage.before[table]) + scene.balance[table]
        really[table] = there - len(scene.ids(table))
        told = outcome.report.deleted.get(table, 0)
        if told != really[table]:
            failures.append(
                f"the report says {told} rows left {table}, in truth {really[table]} did"
            )
    if scene.step != "vacuum" and outcome.changed != any(really.values()):
        failures.append(f"changed is {outcome.changed}, but the rows that left are {really}")
    return failures


def _again(scene: Scene) -> list[str]:
    """Let the next run finish what was interrupted."""
    try:
        with small_pieces():
            outcome = carry_out(scene.step, scene.request)
    except MaintenanceError as refused:
        return [f"the next run was refused: {refused}"]
    return [f"the next run failed: {outcome.error}"] if outcome.error else []


def _rows(scene: Scene, stage: Stage) -> list[str]:
    failures = []
    logs = scene.logs()
    expected = {
        row: values
        for row, values in {**stage.logs, **scene.there}.items()
        if row not in scene.gone and row not in scene.free
    }
    if lost := [row for row in expected if row not in logs]:
        own = sum(row in scene.there for row in lost)
        failures.append(f"{len(lost)} of {len(expected)} logs are lost, {own} of them written live")
    if changed := [row for row, values in expected.items() if row in logs and logs[row] != values]:
        failures.append(f"{len(changed)} logs are not as they were written")
    if back := scene.gone & set(logs):
        failures.append(f"{len(back)} logs that others deleted are there again")
    for table, left in stage.left.items():
        found = set(logs) if table == "log" else scene.ids(table)
        if table != "log" and (lost_rows := left - scene.free - found):
            failures.append(f"{len(lost_rows)} rows of {table} are lost")
        late = stage.before[table] - left - scene.free - stage.retried - set(scene.there)
        if stayed := late & found:
            failures.append(f"{len(stayed)} rows of {table} that must go are there")
        if broken := scene.kept.get(table, set()) - found:
            failures.append(f"{len(broken)} rows of {table} that what others did keeps are lost")
    return failures


def _objects(scene: Scene) -> list[str]:
    found = scene.ask(
        r"""
        SELECT relname FROM pg_class
        WHERE relname LIKE '%\_\_maintenance\_%' AND relpersistence <> 't'
        UNION SELECT proname FROM pg_proc WHERE proname LIKE '%\_\_maintenance\_%'
        UNION SELECT tgname FROM pg_trigger WHERE tgname LIKE '%\_\_maintenance\_%'
        UNION SELECT 'INVALID ' || indexrelid::regclass FROM pg_index
              WHERE NOT indisvalid OR NOT indisready
        """
    )
    return sorted(name for (name,) in found)


def _left_over(scene: Scene) -> list[str]:
    failures = []
    if found := _objects(scene):
        failures.append(f"left over for good: {', '.join(found)}")
    ours = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        f"AND application_name LIKE '{OURS}'"
    )
    try:
        wait_until(lambda: scene.ask(ours) == [(0,)], 15, "a session of ours is left")
    except AssertionError as left:
        failures.append(str(left))
    locks = scene.ask(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    if locks != [(0,)]:
        failures.append(f"{locks[0][0]} advisory locks are left")
    return failures
