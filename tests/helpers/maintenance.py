"""What all integration tests share: filling a database, and the steps as the role runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from paces import paced
from prefect_maintenance.errors import MaintenanceError
from prefect_maintenance.events import Progress
from prefect_maintenance.pace.governors import Governor
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.report.tables import TableReport
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.run.outcome import Outcome
from ruled_world import make_ruled_world
from world import POLICY, TABLES, Policy, World, insert, make_world

from lab.postgres import PASSWORD, Postgres
from lab.server import PrefectServer

T = TypeVar("T")
OURS = "11111111-"
FLOW = "11111111-1111-4111-8111-111111111111"


def engine_for(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=sa.NullPool)


def clear(engine: sa.Engine) -> None:
    """Empty every table that tests fill, and put the one flow there that runs need."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text(f"TRUNCATE {', '.join(TABLES)} CASCADE"))
        else:
            connection.execute(sa.text("PRAGMA foreign_keys = OFF"))
            for table in TABLES:
                connection.execute(sa.text(f"DELETE FROM {table}"))
        for table in ("deployment", "work_queue", "work_pool", "flow"):
            made = f"DELETE FROM {table} WHERE CAST(id AS text) LIKE :ours"
            connection.execute(sa.text(made), {"ours": f"{OURS}%"})
        connection.execute(
            sa.text("INSERT INTO flow (id, name) VALUES (:id, 'oracle')"), {"id": FLOW}
        )


def name_of(url: str) -> str:
    """Return the name of the database that a URL leads to."""
    return url.rsplit("/", 1)[1]


def fill(where: str | sa.Engine, policy: Policy = POLICY, *, seed: int, size: int = 60) -> World:
    """Leave nothing in a database but a random world, the same one for the same seed."""
    engine = engine_for(where) if isinstance(where, str) else where
    clear(engine)
    foreign_keys = engine.dialect.name == "postgresql"
    make = make_ruled_world if policy.ruled else make_world
    world = make(policy, seed, flow=FLOW, size=size, foreign_keys=foreign_keys)
    insert(engine, world)
    return world


def request(
    where: str | sa.Engine | PrefectServer, policy: Policy | None = POLICY, **more: Any
) -> dict[str, Any]:
    """Make a request to the engine, for a database or for a server and its database."""
    asked: dict[str, Any] = {}
    if isinstance(where, PrefectServer):
        asked = {"db_url": where.db_url, "api_url": where.api_url}
    elif isinstance(where, str):
        asked = {"db_url": where}
    else:
        asked = {"db_url": where.url.render_as_string(hide_password=False)}
    return {**asked, **(policy.request() if policy else {}), **more}


def run_step(
    step: str, request: Mapping[str, Any], *, check: bool = False, pace: Pace | None = None
) -> Outcome:
    """Carry out one step of the engine; its failure is raised."""
    outcome = STEPS[step](Settings.parse(request, check=check), pace or Pace())
    if outcome.error:
        raise outcome.error
    return outcome


def refused(
    step: str, asked: dict[str, Any], error: type[MaintenanceError], *said: str, check: bool = False
) -> str:
    """Carry out a step that must be refused in one line that holds no secret."""
    with pytest.raises(error) as raised:
        run_step(step, asked, check=check)
    text = str(raised.value)
    assert "\n" not in text
    assert PASSWORD not in text
    for part in said:
        assert part in text, text
    return text


def table(outcome: Outcome, name: str = "log") -> TableReport:
    """Return what a step reports of a table."""
    return next(t for t in outcome.report.tables if t.name == name)


class GivenUp(AssertionError):
    """Something that should have come about did not."""


def wait_until(it_is: Callable[[], T], seconds: float = 120, otherwise: str = "") -> T:
    """Wait until what a function returns is true, and return it.

    Raises:
        GivenUp: that did not come about; says what is so otherwise.
    """
    end = time.monotonic() + seconds
    while not (found := it_is()):
        if time.monotonic() > end:
            raise GivenUp(f"after {seconds:g} s: {otherwise or 'not so'}")
        time.sleep(0.01)
    return found


@contextmanager
def at_first_batch(table: str, act: Callable[[], object], *governors: Governor) -> Iterator[Pace]:
    """Lend a pace that does something once, right after the first batch of a table.

    By then the plan is made and a part of it carried out; a step calls its pace before that too.
    Fails when no batch of the table came, because then the test has tried nothing.
    """
    acted: list[Progress] = []

    def show(progress: Progress) -> None:
        if progress.table == table and not acted:
            acted.append(progress)
            act()

    yield paced(show, *governors)
    assert acted, f"there was no batch of {table}"


def with_defaults(monkeypatch: pytest.MonkeyPatch, made: Any, **values: Any) -> None:
    """Let new objects of a dataclass begin with other values; what is not named stays."""
    # A default stands in __init__: setting the attribute of the class would change nothing.
    known = {field.name: field.default for field in fields(made) if field.default is not MISSING}
    assert set(values) <= set(known)
    monkeypatch.setattr(made.__init__, "__defaults__", tuple({**known, **values}.values()))


def run_all(
    server: PrefectServer, request: Mapping[str, Any], *, check: bool = False
) -> list[Outcome]:
    """Carry out the steps in the role's order, each continuing the report."""
    asked = {"db_url": server.db_url, "api_url": server.api_url, **request}
    report: dict[str, Any] = {"host": "test"}
    outcomes = []
    for step, options in (
        ("bloat_info", {}),
        ("purge", {"batch_size": 50}),
        ("delete", {"batch_size": 5, "concurrency": 2}),
        ("vacuum", {}),
    ):
        outcome = run_step(step, {**asked, **options, "report": report}, check=check)
        report = outcome.report.as_json()
        outcomes.append(outcome)
    return outcomes


@dataclass(frozen=True)
class SmallDisk:
    """A database on a small file system of its own."""

    folder: Path
    url: str

    def fill(self, leave: int) -> None:
        """Take its room away except for so many bytes."""
        ballast = shutil.disk_usage(self.folder).free - leave
        (self.folder / "ballast").write_bytes(b"0" * ballast)


@contextmanager
def small_disk(cluster: Postgres, template: str, name: str) -> Iterator[SmallDisk]:
    """Lend a database on a disk that can be filled; skips the test where none can be mounted."""
    if os.geteuid():
        pytest.skip("only root can mount the small file system that this needs")
    small = cluster.data.parent / "small"
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", small], check=True)
    try:
        place = small / "space"
        place.mkdir()
        small.chmod(0o755)
        owner = cluster.data.stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        cluster.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        cluster.execute(f'CREATE DATABASE "{name}" TEMPLATE {template} TABLESPACE small')
        yield SmallDisk(small, cluster.url(name))
    finally:
        cluster.drop_database(name)
        cluster.execute("DROP TABLESPACE IF EXISTS small")
        subprocess.run(["umount", small], check=True)
