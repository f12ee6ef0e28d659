"""What is free of the fullest disk is seen on this machine, and reckoned on another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect_maintenance.database.connection import Database
from prefect_maintenance.measure import disk_gauge
from prefect_maintenance.measure.disk_gauge import Gauge, gauge_of
from prefect_maintenance.measure.disk_space import Disks
from prefect_maintenance.measure.room import Free

DATA = Free("/data", "/", 400, 1000)
WAL = Free("/data/pg_wal", "/wal", 30, 60)
ON_ONE = Free("/data/pg_wal", "/", 400, 1000)


def elsewhere(monkeypatch: pytest.MonkeyPatch, *noted: Free, said: int = 0) -> Gauge:
    monkeypatch.setattr(disk_gauge, "data_directory", lambda _: "it runs on another machine")
    unused: Database = object()  # type: ignore[assignment]
    return gauge_of(Disks(unused, noted, said, bytes_then=100))


def test_of_several_disks_here_the_fullest_counts(tmp_path: Path) -> None:
    found = Gauge(folders=(tmp_path, tmp_path / "..")).fullest(None, None)
    assert found
    assert found[0] in (str(tmp_path), str(tmp_path / ".."))
    assert 0 <= found[1] <= 100


@pytest.mark.parametrize(
    ("noted", "said", "size", "wal", "fullest"),
    [
        ((DATA, WAL), 0, 100, 50, ("/data", 40.0)),
        ((DATA, WAL), 0, 300, 50, ("/data", 20.0)),
        ((DATA, WAL), 0, 100, 62, ("/data/pg_wal", 30.0)),
        ((DATA, ON_ONE), 0, 300, 150, ("/data", 10.0)),
        ((DATA,), 0, 600, 500, ("/data", 0.0)),
        # What was given back counts as well; WAL that nobody may see does not.
        ((DATA,), 0, 50, None, ("/data", 45.0)),
        ((DATA, WAL), 70, 300, 50, ("/data", 20.0)),
        ((), 900, 100, 50, ("the database", 90.0)),
        ((), 900, 300, 150, ("the database", 60.0)),
        # As an older report has it.
        ((Free("/data", "/", 400),), 0, 300, 50, None),
        ((), 0, 300, 50, None),
    ],
)
def test_what_the_database_and_its_wal_grow_by_is_taken_off_what_was_free(
    monkeypatch: pytest.MonkeyPatch,
    noted: tuple[Free, ...],
    said: int,
    size: int,
    wal: int | None,
    fullest: tuple[str, float] | None,
) -> None:
    gauge = elsewhere(monkeypatch, *noted, said=said)
    gauge.fullest(100, None if wal is None else 50)
    assert gauge.fullest(size, wal) == (fullest and pytest.approx(fullest))
