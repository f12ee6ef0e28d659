"""The file of the metrics is replaced as a whole, whoever else writes to it or holds its folder."""

from __future__ import annotations

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect_maintenance.run import textfile
from prefect_maintenance.run.line import carry_out


def of(host: str) -> dict[str, Any]:
    return {"host": host, "status": "ok", "seconds": 1.0}


def hosts(folder: Path) -> set[str]:
    lines = (folder / textfile.NAME).read_text().splitlines()
    return {line.split('"')[1] for line in lines if line.startswith("prefect_")}


def test_everybody_may_read_the_file_and_nothing_else_is_left(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert textfile.write(tmp_path, of("a"), "ended") is None
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert file.name == "prefect_maintenance.prom"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    first = file.stat().st_ino
    assert textfile.write(tmp_path, of("b"), "ended") is None
    assert file.stat().st_ino != first
    assert list(tmp_path.iterdir()) == [file]
    assert hosts(tmp_path) == {"a", "b"}


def test_hosts_that_write_at_once_all_stay(tmp_path: Path) -> None:
    names = {f"prefect-{number}" for number in range(24)}
    with ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda name: textfile.write(tmp_path, of(name), "ended"), names)
        assert set(done) == {None}
    assert hosts(tmp_path) == names


def test_a_folder_that_is_held_is_waited_for_and_then_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textfile, "_PATIENT", 0.0)
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    warning = textfile.write(tmp_path, of("a"), "ended")
    assert warning is not None
    assert str(tmp_path) in warning
    os.close(held)
    assert textfile.write(tmp_path, of("a"), "ended") is None


@pytest.mark.parametrize("what", ["missing", "a file", "a folder in its place"])
def test_what_cannot_be_written_is_a_warning_that_names_the_way_out(
    tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "collector"
    if what == "a file":
        folder.touch()
    elif what == "a folder in its place":
        (folder / textfile.NAME / "x").mkdir(parents=True)
    warning = textfile.write(folder, of("a"), "ended")
    assert warning is not None
    assert warning.startswith(f"no metrics were written to {folder}: ")
    assert warning.endswith("or leave textfile_dir unset")
    assert not list(tmp_path.rglob(".prefect_maintenance*"))


def test_a_failure_stays_what_it_was_where_no_metrics_can_be_written(tmp_path: Path) -> None:
    asked = {"batch_size": 0, "textfile_dir": str(tmp_path / "none"), "report": {"host": "a"}}
    done = carry_out("purge", asked, check=False)
    assert done.failure is not None
    assert "batch_size" in done.failure
    (warning,) = done.warnings
    assert done.report["warnings"] == [warning]
    again = carry_out("purge", {**asked, "report": done.report}, check=False)
    assert again.warnings == ()
    assert again.report["warnings"] == [warning]


def test_a_step_that_fails_before_it_begins_is_told_and_a_check_never(tmp_path: Path) -> None:
    asked = {"batch_size": 0, "textfile_dir": str(tmp_path), "report": {"host": "a"}}
    carry_out("purge", asked, check=True)
    assert list(tmp_path.iterdir()) == []
    carry_out("purge", asked, check=False)
    assert 'last_run_status{host="a",status="failed"} 1' in (tmp_path / textfile.NAME).read_text()
