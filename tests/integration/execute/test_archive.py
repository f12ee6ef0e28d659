"""Every row that goes is in the archive before it goes, and comes back as it was."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from archiving import archived, die, engine_of, killed, lacking, patched_in, restored
from maintenance import FLOW, engine_for, fill, refused, request, run_step, wait_until
from paces import paced
from prefect_maintenance.errors import ArchiveFailed, StepFailed
from prefect_maintenance.events import Progress
from prefect_maintenance.execute import archive_file, archive_manifest, restore_files, rewrite
from prefect_maintenance.execute.archive import Archive
from prefect_maintenance.execute.archive_file import ArchiveFile
from prefect_maintenance.pace.pace import Pace
from takers import fill_with_what_goes
from world import NOW, dump

from lab.postgres import Postgres
from lab.server import PrefectServer

OLD = NOW - timedelta(days=60)
LOG = """
INSERT INTO log (id, name, level, message, timestamp, flow_run_id)
SELECT gen_random_uuid(), 'l', 20, repeat('m', 200), :at, :run FROM generate_series(1, :rows)
"""
RUN = "55555555-5555-4555-8555-555555555555"


def ids_in(folder: Path, table: str) -> set[str]:
    """Return the ids of a table's rows in all archives below a folder."""
    return {
        str(row[entry.columns.index("id")])
        for path, entry in restore_files.files_of(restore_files.find(folder), table)
        for row in restore_files.rows_in(path, entry)
    }


def add_logs(engine: sa.Engine, rows: int, run: str | None = None) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(LOG), {"rows": rows, "at": OLD, "run": run})


def set_state(engine: sa.Engine, state: str) -> None:
    with engine.begin() as connection:
        sql = "UPDATE flow_run SET state_type = :state WHERE id = :id"
        connection.execute(sa.text(sql), {"state": state, "id": RUN})


def at(unit: str, act: Callable[[], object], table: str = "log") -> Pace:
    """Act once, when a table's progress is first counted in a unit."""
    acted: list[Progress] = []

    def show(progress: Progress) -> None:
        if (progress.table, progress.unit) == (table, unit) and not acted:
            acted.append(progress)
            act()

    return paced(show)


def test_everything_comes_back_as_it_was_and_a_second_time_nothing_changes(
    engine: sa.Engine, tmp_path: Path
) -> None:
    fill(engine, seed=11)
    before = dump(engine)
    report = archived(engine, tmp_path)
    assert report["archive"]["rows"] >= sum(report["deleted"].values()) > 100
    foretold, would = restored(engine, tmp_path, check=True)
    assert would
    assert len(lacking(before, engine)) >= 8
    done, changed = restored(engine, tmp_path)
    assert changed
    assert done == foretold
    assert lacking(before, engine) == {}
    again, changed = restored(engine, tmp_path)
    assert not changed
    assert not any(again["restored"].values())


def test_every_kind_of_value_comes_back_as_it_was(database: str, tmp_path: Path) -> None:
    with engine_of(database) as engine:
        fill(engine, seed=3, size=1)
        add_logs(engine, 1)
        told = 'a\tb\nc\\d"e\\N\x1b[31m\x0b\r\x08\x0c\x01 ä€😀 \\v \\\\v {} ,"\\N",'
        with engine.begin() as connection:
            for text in (told, "\\N", "", "null", "\\", '"'):
                sql = (
                    "INSERT INTO log (id, name, level, message, timestamp) VALUES "
                    "(gen_random_uuid(), :text, 20, :text, '-infinity')"
                )
                connection.execute(sa.text(sql), {"text": text})
            for value in ("null", '"null"', '{"a": 1.50, "b": [null, "\\\\N\\t"]}', "1e400", None):
                sql = (
                    "INSERT INTO artifact (id, key, type, data, metadata_, created) VALUES "
                    "(gen_random_uuid(), 'k', 't', CAST(:data AS json), NULL, "
                    "'0044-03-15 00:00:00.000001 BC')"
                )
                connection.execute(sa.text(sql), {"data": value})
        texts = "SELECT CAST(x AS text) FROM {} x ORDER BY 1"
        tables = ("log", "artifact")

        def shown() -> list[list[Any]]:
            with engine.connect() as connection:
                return [
                    [row[0] for row in connection.execute(sa.text(texts.format(table)))]
                    for table in tables
                ]

        before = shown()
        report = archived(engine, tmp_path)
        assert report["deleted"]["log"] >= 7
        assert report["deleted"]["artifact"] >= 5
        restored(engine, tmp_path)
        assert shown() == before


def test_a_rewrite_archives_what_it_leaves_out_whatever_changes_meanwhile(
    database: str, tmp_path: Path
) -> None:
    with engine_of(database) as engine:
        world = fill(engine, seed=11)
        add_logs(engine, 300)
        with engine.begin() as connection:
            sql = (
                "INSERT INTO flow_run (id, name, flow_id, state_type, end_time) "
                "VALUES (:id, 'r', :flow, 'COMPLETED', now())"
            )
            connection.execute(sa.text(sql), {"id": RUN, "flow": FLOW})
        add_logs(engine, 20, RUN)
        before = dump(engine)
        stages: list[str] = []

        def show(progress: Progress) -> None:
            """Retry the run after the copy; end it again, and add old logs, after the archive."""
            if progress.table != "log" or progress.unit in stages:
                return
            stages.append(progress.unit)
            if progress.unit == "indexes":
                set_state(engine, "RUNNING")
            if progress.unit == "rows archived":
                set_state(engine, "COMPLETED")
                add_logs(engine, 7)

        report = archived(engine, tmp_path, pace=paced(show), purge_strategy="rewrite")
        assert stages[-1] == "rows archived" or "rows archived" in stages
        log = next(table for table in report["tables"] if table["name"] == "log")
        assert log["ways"]["rewrite"] >= 327
        archive = ids_in(tmp_path, "log")
        there = set(dump(engine, ["log"])["log"])
        assert set(before["log"]) <= there | archive
        assert len(archive - set(before["log"])) == 7
        assert world.rows["log"]
        restored(engine, tmp_path)
        del before["flow_run"][RUN]
        assert lacking(before, engine) == {}


def test_what_the_api_deletes_is_archived_before_the_call(
    shared_server: PrefectServer, tmp_path: Path
) -> None:
    with engine_of(shared_server.db_url) as engine:
        fill_with_what_goes(engine)
        before = dump(engine)
        asked = request(shared_server, run_delete_via="api", archive_dir=str(tmp_path))
        report = run_step("delete", {**asked, "batch_size": 5}).report
        assert report.delete_via["way"] == "mixed"
        logs = lambda: set(dump(engine, ["log"])["log"])  # noqa: E731
        gone = set(before["log"]) - ids_in(tmp_path, "log")
        wait_until(lambda: logs() <= gone, otherwise="the server has not deleted the logs")
        restored(shared_server, tmp_path)
        left = lacking(before, engine)
        # The server may delete logs of runs that it was told to delete at any later time.
        assert left.pop("log", set()) <= ids_in(tmp_path, "log")
        assert left == {}


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("strategy", ["delete", "rewrite"])
def test_rows_for_which_the_disk_has_no_room_stay(
    database: str, tmp_path: Path, strategy: str
) -> None:
    with engine_of(database) as engine:
        fill(engine, seed=11)
        add_logs(engine, 500)
        before = dump(engine)
        asked = request(engine, archive_dir=str(tmp_path), purge_strategy=strategy)
        with small_files(2000), pytest.raises(StepFailed, match=r"log: rows could not be archived"):
            run_step("purge", {**asked, "batch_size": 100})
        there = {table: set(rows) for table, rows in dump(engine).items()}
        for table, rows in before.items():
            gone = set(rows) - there[table]
            assert not gone or gone <= ids_in(tmp_path, table)
        assert len(there["log"]) > 500
        archived(engine, tmp_path)
        restored(engine, tmp_path)
        assert lacking(before, engine) == {}


def test_rows_stay_whose_archive_is_read_back_otherwise_than_it_was_written(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, seed=11)
    before, blocks = dump(engine), archive_file.blocks

    def rotten(*where: int) -> Iterator[bytes]:
        for block in blocks(*where):
            yield bytes([block[0] ^ 1]) + block[1:]

    monkeypatch.setattr(archive_file, "blocks", rotten)
    for step in ("purge", "delete"):
        asked = request(engine, archive_dir=str(tmp_path), run_delete_via="sql")
        with pytest.raises(StepFailed, match="was read back and is not what was written"):
            run_step(step, asked)
    assert dump(engine) == before


def test_nothing_is_deleted_where_no_archive_can_be_made(filled: str, tmp_path: Path) -> None:
    with engine_of(filled) as engine:
        before = dump(engine)
        missing, file = tmp_path / "missing", tmp_path / "file"
        file.touch()
        for check in (True, False):
            for folder, why in ((missing, "is not there"), (file, "is no folder")):
                asked = request(engine, archive_dir=str(folder))
                for step in ("purge", "delete"):
                    refused(step, asked, ArchiveFailed, "nothing was deleted", why, check=check)
        assert dump(engine) == before


def test_nothing_is_deleted_when_the_archive_would_not_fit(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    few = usage._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: few if place == tmp_path else usage)
    asked = request(filled, archive_dir=str(tmp_path))
    refused("purge", asked, ArchiveFailed, "no room for the archive", "1000 Bytes is free")
    assert list(tmp_path.iterdir()) == []


STAGES: dict[str, tuple[str, Callable[[], Pace | None]]] = {
    "before it is read back": ("delete", lambda: patched_in(ArchiveFile, "_read_back", die)),
    "before the manifest": ("delete", lambda: patched_in(archive_manifest, "write", die)),
    "before the commit": (
        "delete",
        lambda: patched_in(Archive, "_note", lambda own, note=Archive._note: (note(own), die())),
    ),
    "after a batch": ("delete", lambda: at("rows", die)),
    "while a rewrite archives": ("rewrite", lambda: at("rows archived", die)),
    "after the swap": ("rewrite", lambda: patched_in(rewrite, "_finished", die)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_is_killed_loses_no_row(
    cluster: Postgres, filled: str, tmp_path: Path, stage: str
) -> None:
    strategy, prepare = STAGES[stage]
    with engine_of(filled) as engine:
        before = dump(engine)
        more: dict[str, Any] = {"purge_strategy": strategy, "batch_size": 20}
        killed(cluster, filled, lambda: archived(filled, tmp_path, pace=prepare(), **more))
        there = dump(engine)
        for table, rows in before.items():
            gone = set(rows) - set(there[table])
            assert not gone or gone <= ids_in(tmp_path, table)
        # What lies beside the table goes with the next run, and so does the rest.
        archived(filled, tmp_path, **more)
        assert len(lacking(before, engine)) >= 8
        restored(filled, tmp_path)
        assert lacking(before, engine) == {}


def test_a_day_is_removed_after_its_time_and_nothing_else(database: str, tmp_path: Path) -> None:
    with engine_of(database) as engine:
        fill(engine, seed=11)
        first = archived(engine, tmp_path)["archive"]
        home = Path(first["folder"]).parent
        other = home / "20200101T000000Z"
        other.mkdir()
        (other / "notes.txt").touch()
        (Path(first["folder"]) / "mine.txt").touch()
        manifest = Path(first["folder"]) / "manifest.json"
        told = json.loads(manifest.read_text())
        made = datetime.now(UTC) - timedelta(days=9, minutes=1)
        manifest.write_text(json.dumps({**told, "made": made.isoformat()}))
        asked = request(database, None, archive_dir=str(tmp_path), retention_days=30000)
        assert not run_step("purge", {**asked, "archive_days": 10}, check=True).changed
        asked["archive_days"] = 9
        checked = run_step("purge", asked, check=True)
        assert checked.changed
        assert checked.report.archive["removed"] == 1
        assert manifest.exists()
        done = run_step("purge", asked)
        assert done.changed
        assert done.report.archive["removed"] == 1
        assert set(home.iterdir()) == {other, Path(first["folder"])}
        assert [left.name for left in Path(first["folder"]).iterdir()] == ["mine.txt"]
        assert not run_step("purge", asked).changed


def test_a_database_without_an_archive_is_deleted_from_as_before(filled: str) -> None:
    report = run_step("purge", request(engine_for(filled))).report
    assert "archive" not in report.as_json()
