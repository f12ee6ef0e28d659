"""What the integration tests share: clearing a database, and the steps as the role runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_maintenance.pace.pace import Pace, Progress
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run import STEPS, Outcome
from world import TABLES

from lab.postgres import Postgres
from lab.server import PrefectServer

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
        connection.execute(sa.text("DELETE FROM flow WHERE id = :id"), {"id": FLOW})
        connection.execute(
            sa.text("INSERT INTO flow (id, name) VALUES (:id, 'oracle')"), {"id": FLOW}
        )


def run_step(
    step: str, request: Mapping[str, Any], *, check: bool = False, pace: Pace | None = None
) -> Outcome:
    """Carry out one step of the engine; its failure is raised."""
    outcome = STEPS[step](Settings.parse(request, check=check), pace or Pace())
    if outcome.error:
        raise outcome.error
    return outcome


def wait_until(it_is: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a condition; fails when it does not come about."""
    end = time.monotonic() + seconds
    while not it_is():
        assert time.monotonic() < end, f"not so in {seconds:g} s"
        time.sleep(0.02)


@contextmanager
def at_first_batch(table: str, act: Callable[[], object]) -> Iterator[Pace]:
    """Lend a pace that does something once, right after the first batch of a table.

    By then the plan is made and a part of it carried out; a step calls its pace before that too.
    Fails when no batch of the table came, because then the test has tried nothing.
    """
    acted: list[Progress] = []

    def show(progress: Progress) -> None:
        if progress.table == table and not acted:
            acted.append(progress)
            act()

    yield Pace(show=show)
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
