"""The space of an SQLite file comes back without harm to the file or to those who write to it."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from maintenance import refused, run_step, wait_until
from old_logs import ROWS, reclaiming, with_old_logs
from paces import paced
from prefect_maintenance.errors import Corrupt, StepFailed
from prefect_maintenance.events import Progress
from prefect_maintenance.execute import sqlite_file
from prefect_maintenance.measure import disk_space
from prefect_maintenance.pace.stop_file import StopFile
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.run.outcome import Outcome

WRITE = "INSERT INTO log (name, level, message, timestamp) VALUES ('l', 20, 'live', '2999-01-01')"


@pytest.fixture(scope="module")
def purged(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file from which nine in ten logs have gone."""
    path = tmp_path_factory.mktemp("purged") / "prefect.db"
    shutil.copy(migrated_file, path)
    with_old_logs(f"sqlite:///{path}")
    run_step("purge", asked(path))
    say(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def path(purged: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    path = tmp_path / "prefect.db"
    shutil.copy(purged, path)
    return path


def asked(path: Path, **more: Any) -> dict[str, Any]:
    return reclaiming(f"sqlite:///{path}", **more)


def say(path: Path, *statements: str) -> Any:
    """Carry out statements; returns the first value of the last."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


@pytest.fixture
def in_steps(path: Path) -> Path:
    """The same in a file that gives free pages back in steps."""
    say(path, "PRAGMA auto_vacuum = 2", "VACUUM", "CREATE TABLE gone AS SELECT * FROM log")
    say(path, *["INSERT INTO gone SELECT * FROM log"] * 9, "DROP TABLE gone")
    say(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def told(outcome: Outcome) -> tuple[str, str]:
    database = outcome.report.database
    return str(database["reclaim"]), str(database["reclaim_why"])


def test_a_file_that_can_is_shrunk_in_steps_between_which_others_write(in_steps: Path) -> None:
    path = in_steps
    size, pages = path.stat().st_size, int(say(path, "PRAGMA freelist_count")[0][0])
    steps: list[Progress] = []

    def write(progress: Progress) -> None:
        if progress.unit == "pages":
            steps.append(progress)
            say(path, WRITE)

    compacting = asked(path, vacuum="compact")
    foretold = run_step("vacuum", compacting, check=True)
    done = run_step("vacuum", compacting, pace=paced(write))
    assert (told(foretold)[0], told(done)[0]) == ("compact", "compact")
    assert "checked before and afterwards" in told(done)[1]
    assert len(steps) >= pages // sqlite_file._STEP > 2
    assert path.stat().st_size < size / 2
    assert say(path, "PRAGMA integrity_check") == [("ok",)]
    assert say(path, "SELECT count(*) FROM log") == [(ROWS // 10 + len(steps),)]
    assert told(run_step("vacuum", compacting))[0] == "plain"


def test_a_stopped_compaction_is_told_and_goes_on_with_the_next_run(in_steps: Path) -> None:
    path = in_steps
    compacting = asked(path, vacuum="compact")
    stop = path.with_name("stop")

    def touch(progress: Progress) -> None:
        if progress.unit == "pages":
            stop.touch()

    pace = paced(touch, StopFile(stop))
    stopped = STEPS["vacuum"](Settings.parse(compacting, check=False), pace)
    assert stopped.error is not None
    assert stopped.changed
    assert told(stopped) == ("compact", "stopped on the way; the next run goes on")
    left = int(say(path, "PRAGMA freelist_count")[0][0])
    assert left > 0
    assert run_step("vacuum", compacting).changed
    assert say(path, "PRAGMA freelist_count") == [(0,)]


def test_a_file_that_cannot_be_shrunk_in_steps_is_left_by_compact(path: Path) -> None:
    done = run_step("vacuum", asked(path, vacuum="compact"))
    action, why = told(done)
    assert (action, done.changed) == ("plain", False)
    assert "auto_vacuum" in why


@pytest.mark.parametrize("step", ["bloat_info", "purge", "delete", "vacuum"])
def test_a_damaged_file_is_refused_by_every_step_and_stays_as_it_is(path: Path, step: str) -> None:
    say(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    root = int(say(path, "SELECT rootpage FROM sqlite_master WHERE name = 'log'")[0][0])
    page = int(say(path, "PRAGMA page_size")[0][0])
    with path.open("r+b") as file:
        file.seek((root - 1) * page + 12)
        file.write(b"\xff" * 64)
    before = path.read_bytes()
    refused(step, asked(path), Corrupt, "is damaged", str(path))
    assert path.read_bytes() == before
    assert ".recover" in Corrupt.remedy


def test_no_vacuum_begins_without_room_for_its_temporary_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(path.parent))
    monkeypatch.setattr(disk_space, "COPIES", 1e9)
    action, why = told(run_step("vacuum", asked(path)))
    assert action == "plain"
    assert re.search(r"needs [\d,.]+ \w+ for the copy and .* [\d.]+ \w+ is free", why)
    with pytest.raises(StepFailed, match="no room for the copy") as raised:
        run_step("vacuum", asked(path, vacuum="full"))
    assert f"on the disk of {path.parent}" in str(raised.value)


def test_a_reader_keeps_no_writer_out_while_the_write_ahead_log_is_to_be_emptied(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM log").fetchall()
    written, waited, over = [0], [0], threading.Event()

    def write() -> None:
        """Write until it is over; whoever waits for a third of the step's patience is kept out."""
        with closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as connection:
            while not over.is_set():
                try:
                    connection.execute(WRITE)
                except sqlite3.OperationalError:
                    break
                written[0] += 1
        reader.execute("COMMIT")

    def between(_seconds: float) -> None:
        before, waited[0] = written[0], waited[0] + 1
        wait_until(lambda: written[0] > before)
        if waited[0] == 2:
            over.set()
            writer.join()

    monkeypatch.setattr(sqlite_file, "sleep", between)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert told(run_step("vacuum", asked(path, lock_timeout=60)))[0] == "full"
    finally:
        over.set()
        writer.join()
        reader.close()
    assert waited == [2], "a writer was kept out for as long as the reader stayed"
    assert say(path, "SELECT count(*) FROM log") == [(ROWS // 10 + written[0],)]
