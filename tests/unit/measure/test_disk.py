"""What `df` printed on the host that has the disks is read folder by folder."""

from __future__ import annotations

from prefect_maintenance.measure.disk import Disk, disk_elsewhere, free_elsewhere
from prefect_maintenance.measure.room import Free
from prefect_maintenance.request.settings import DiskLook

HEAD = "Filesystem 1024-blocks Used Available Capacity Mounted on"
DATA = f"{HEAD}\n/dev/sda1 1000 600 400 60% /\n"
WAL = f"{HEAD}\r\n/dev/mapper/vg-wal 50 40 10 80% /var/lib/the wal\r\n"
REFUSED = "df: /data/pg_wal: Permission denied\n"


def look(df: str, why: str = "") -> DiskLook:
    return DiskLook("db1", "/data", df, why)


def test_each_folder_has_the_disk_that_stands_behind_it() -> None:
    found = look(f"= /data\n{DATA}= /data/pg_wal\n{WAL}")
    assert free_elsewhere(found) == (
        Free("/data", "/", 400 * 1024, 1000 * 1024),
        Free("/data/pg_wal", "/var/lib/the wal", 10 * 1024, 50 * 1024),
    )
    assert disk_elsewhere(found) == Disk("/data", 400 * 1024, 1000 * 1024, "db1")


def test_a_folder_that_nobody_may_look_into_is_left_out() -> None:
    refused = look(f"= /data\n{DATA}= /data/pg_wal\n{REFUSED}")
    assert free_elsewhere(refused) == (Free("/data", "/", 400 * 1024, 1000 * 1024),)
    # The WAL's answer is not taken for that of the data.
    first = look(f"= /data\n{REFUSED}= /data/pg_wal\n{WAL}", "no way in")
    assert [one.path for one in free_elsewhere(first)] == ["/data/pg_wal"]
    assert disk_elsewhere(first) == "the disk of the database on db1 is not known: no way in"


def test_an_answer_without_a_name_is_that_of_the_folder() -> None:
    assert free_elsewhere(look(DATA)) == (Free("/data", "/", 400 * 1024, 1000 * 1024),)
    assert free_elsewhere(look("")) == ()
