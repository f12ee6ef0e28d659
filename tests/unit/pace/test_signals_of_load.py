"""What of a server's load makes the work wait, and with how much room it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from prefect_maintenance.measure.load import Autovacuum, Load, Slot, Standby
from prefect_maintenance.pace.api import api
from prefect_maintenance.pace.archive import archive
from prefect_maintenance.pace.autovacuum import autovacuum
from prefect_maintenance.pace.disk import disk
from prefect_maintenance.pace.replica import replica
from prefect_maintenance.pace.seen import Seen
from prefect_maintenance.pace.sessions import sessions
from prefect_maintenance.pace.slot import slot
from prefect_maintenance.request.throttle import OFF, Throttle

MIB = 2**20
DISK = "/data"
Signal = Callable[[Seen], str | None]


def seen(now: Load, first: Load = Load(), **limits: float) -> Seen:  # noqa: B008  never changed
    return Seen("log", replace(Throttle(), **limits), now, first)  # type: ignore[arg-type]


def behind(size: int | None, seconds: float | None = None) -> Load:
    return Load(standbys=(Standby("b", size, seconds),))


def slots(safe: int | None, status: str = "reserved", keep: int = -1) -> Load:
    return Load(slots=(Slot("s", True, safe, status),), slot_keep=keep)


def vacuumed(table: str, *, pid: int = 7, urgent: bool = False) -> Load:
    return Load(vacuumed=(Autovacuum(None, 6), Autovacuum(table, pid, urgent)))


def free(percent: float | None) -> Load:
    return Load(disk=DISK, free_percent=percent)


@pytest.mark.parametrize(
    ("signal", "look", "why"),
    [
        (replica, seen(behind(300 * MIB)), "standby b is 300.0 MiB behind"),
        (replica, seen(behind(2 * MIB, 31), replica_lag_seconds=30), "standby b is 31 s behind"),
        (replica, seen(Load(), behind(0)), "standby b has gone since the work began"),
        (slot, seen(slots(100 * MIB)), "replication slot s can bear only 100.0 MiB more WAL"),
        (slot, seen(slots(-5, "unreserved")), "replication slot s can bear only 0 Bytes more WAL"),
        (archive, seen(Load(archive=43)), "43 WAL segments wait for the archive"),
        (archive, seen(Load(archive=43, archive_fails=True)),
         "43 WAL segments wait for the archive, and archiving fails"),
        (disk, seen(free(4.9), free(20.0)), "only 4.9 % of the disk of /data are free"),
        (disk, seen(free(2.3), free(3.0)), "only 2.3 % of the disk of /data are free"),
        (disk, seen(Load(wal=2 * MIB), wal_bytes=MIB), "2.0 MiB of WAL lie on the server's disk"),
        (autovacuum, seen(vacuumed("log"), vacuumed("log")), "autovacuum is at work on log"),
        (autovacuum, seen(vacuumed("log", urgent=True)), "autovacuum is at work on log"),
        (sessions, seen(Load(active=13), Load(active=4)),
         "13 sessions are at work in the database, 4 were before"),
        (api, Seen("log", Throttle(), latency=0.4, idle_latency=0.1),
         "the Prefect API takes 400 ms to answer, 100 ms before"),
    ],
)  # fmt: skip
def test_a_signal_says_why_with_its_numbers_and_nothing_once_it_is_off(
    signal: Signal, look: Seen, why: str
) -> None:
    assert signal(look) == why
    assert signal(replace(look, limits=OFF)) is None


@pytest.mark.parametrize(
    ("signal", "look"),
    [
        (replica, seen(behind(256 * MIB), behind(0))),
        (replica, seen(behind(None), behind(0))),
        # The last word of a standby that has nothing to replay may be old.
        (replica, seen(behind(0, 500), replica_lag_seconds=30)),
        (slot, seen(slots(None))),
        (slot, seen(slots(512 * MIB))),
        # The server's bound is smaller than the threshold.
        (slot, seen(slots(60 * MIB, keep=100 * MIB))),
        # What is lost already cannot be saved by a wait.
        (slot, seen(slots(None, "lost"))),
        (archive, seen(Load(archive=42))),
        (archive, seen(Load(archive=None, archive_fails=True))),
        (disk, seen(free(5.0), free(20.0))),
        # A disk that was nearly full before is to be freed by this very work.
        (disk, seen(free(2.5), free(3.0))),
        (disk, seen(free(None), free(None))),
        (disk, seen(Load(wal=None), wal_bytes=MIB)),
        (autovacuum, seen(vacuumed("events"), vacuumed("events"))),
        # It came after the work had begun to delete.
        (autovacuum, seen(vacuumed("log"))),
        (autovacuum, seen(vacuumed("log", pid=8), vacuumed("log"))),
        (sessions, seen(Load(active=12), Load(active=4))),
        (sessions, seen(Load(active=30), Load(active=10))),
        (api, Seen("log", Throttle(), latency=0.09, idle_latency=0.001)),
        (api, Seen("log", Throttle(), latency=None, idle_latency=0.001)),
        (api, Seen("log", Throttle(), latency=9, idle_latency=None)),
    ],
)
def test_what_is_within_its_threshold_or_cannot_be_seen_is_no_reason(
    signal: Signal, look: Seen
) -> None:
    assert signal(look) is None


@pytest.mark.parametrize(
    ("signal", "still", "over"),
    [
        (replica, seen(behind(210 * MIB)), seen(behind(204 * MIB))),
        (slot, seen(slots(600 * MIB)), seen(slots(641 * MIB))),
        (archive, seen(Load(archive=34)), seen(Load(archive=33))),
        (disk, seen(free(6.2), free(20.0)), seen(free(6.3), free(20.0))),
        # More than there was before nobody can free.
        (disk, seen(free(5.5), free(6.0)), seen(free(6.0), free(6.0))),
        (sessions, seen(Load(active=10), Load(active=4)), seen(Load(active=9), Load(active=4))),
        (api, Seen("log", Throttle(), latency=0.25, idle_latency=0.1),
         Seen("log", Throttle(), latency=0.24, idle_latency=0.1)),
    ],
)  # fmt: skip
def test_work_that_waits_goes_on_only_when_there_is_room(
    signal: Signal, still: Seen, over: Seen
) -> None:
    assert signal(still) is None
    assert signal(replace(still, waiting=True)) is not None
    assert signal(replace(over, waiting=True)) is None


def test_a_slot_that_nobody_reads_any_more_is_a_standby_that_has_gone() -> None:
    before = Load(slots=(Slot("s", True, None, "reserved"), Slot("old", False, None, "reserved")))
    gone = Load(slots=(Slot("s", False, None, "reserved"), Slot("old", False, None, "reserved")))
    assert replica(seen(gone, before)) == (
        "replication slot s is read by nobody since the work began"
    )
    assert replica(seen(before, before)) is None
    # Whoever drops a slot has no standby for it any more.
    assert replica(seen(Load(slots=before.slots[1:]), before)) is None


def test_one_of_two_standbys_with_one_name_that_goes_is_missed() -> None:
    two = Load(standbys=(Standby("walreceiver", 0), Standby("walreceiver", 0)))
    assert replica(seen(replace(two, standbys=two.standbys[:1]), two)) is not None
    assert replica(seen(two, two)) is None
