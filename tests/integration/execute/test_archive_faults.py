"""An archive that fails, at whatever moment: no row goes that it does not have."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from archiving import (
    add_logs,
    archived,
    die,
    ids_in,
    killed,
    lacking,
    patched_in,
    restored,
    world_in,
)
from maintenance import fill, refused, request, run_step
from paces import paced
from prefect_maintenance.errors import ArchiveFailed, StepFailed
from prefect_maintenance.events import Progress
from prefect_maintenance.execute import archive_file, archive_manifest, rewrite
from prefect_maintenance.execute.archive import Archive
from prefect_maintenance.execute.archive_file import ArchiveFile
from prefect_maintenance.pace.pace import Pace
from world import dump

from lab.postgres import Postgres


def at(unit: str, act: Callable[[], object], table: str = "log") -> Pace:
    """Act once, when a table's progress is first counted in a unit."""
    acted: list[Progress] = []

    def show(progress: Progress) -> None:
        if (progress.table, progress.unit) == (table, unit) and not acted:
            acted.append(progress)
            act()

    return paced(show)


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
    with world_in(database) as engine:
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


def removed(folder: Path) -> None:
    (folder / "log.jsonl.gz").unlink()


def replaced(folder: Path) -> None:
    file = folder / "log.jsonl.gz"
    shutil.copy(file, folder / "copy")
    (folder / "copy").rename(file)


def moved_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize("others", [removed, replaced, moved_away])
def test_nothing_more_is_deleted_once_others_have_taken_the_file_of_the_archive(
    database: str, tmp_path: Path, others: Callable[[Path], None]
) -> None:
    there: list[set[str]] = []
    with world_in(database) as engine:
        add_logs(engine, 500)

        def act() -> None:
            there.append(set(dump(engine)["log"]))
            (home,) = tmp_path.iterdir()
            (folder,) = home.iterdir()
            others(folder)

        asked = request(engine, archive_dir=str(tmp_path), purge_strategy="delete", batch_size=100)
        with pytest.raises(StepFailed, match="log: rows could not be archived in"):
            run_step("purge", asked, pace=at("rows", act))
        assert [set(dump(engine)["log"])] == there


def test_nothing_is_deleted_where_no_archive_can_be_made(database: str, tmp_path: Path) -> None:
    with world_in(database) as engine:
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


def test_runs_that_begin_at_once_have_folders_of_their_own(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []

    def begun_by_another(_: Archive, folder: Path) -> bool:
        if not begun:
            folder.mkdir()
            begun.append(folder)
        return False

    monkeypatch.setattr(Archive, "_resumed", begun_by_another)
    archive = run_step("purge", request(filled, archive_dir=str(tmp_path))).report.archive
    assert archive["folder"] == f"{begun[0]}-2"
    assert list(begun[0].iterdir()) == []


def noted_and_dead(archive: Archive, note: Callable[[Archive], None] = Archive._note) -> None:
    note(archive)
    die()


STAGES: dict[str, tuple[str, Callable[[], Pace | None]]] = {
    "before it is read back": ("delete", lambda: patched_in(ArchiveFile, "_read_back", die)),
    "before the manifest": ("delete", lambda: patched_in(archive_manifest, "write", die)),
    "before the commit": ("delete", lambda: patched_in(Archive, "_note", noted_and_dead)),
    "after a batch": ("delete", lambda: at("rows", die)),
    "while a rewrite archives": ("rewrite", lambda: at("rows archived", die)),
    "after the swap": ("rewrite", lambda: patched_in(rewrite, "_finished", die)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_is_killed_loses_no_row(
    cluster: Postgres, database: str, tmp_path: Path, stage: str
) -> None:
    strategy, prepare = STAGES[stage]
    with world_in(database) as engine:
        before = dump(engine)
        more: dict[str, Any] = {"purge_strategy": strategy, "batch_size": 20}
        killed(cluster, database, lambda: archived(database, tmp_path, pace=prepare(), **more))
        there = dump(engine)
        for table, rows in before.items():
            gone = set(rows) - set(there[table])
            assert not gone or gone <= ids_in(tmp_path, table)
        # What lies beside the table goes with the next run, and so does the rest.
        archived(database, tmp_path, **more)
        assert len(lacking(before, engine)) >= 8
        restored(database, tmp_path)
        assert lacking(before, engine) == {}
