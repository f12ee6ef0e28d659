"""Room is looked for where the files come to lie, and what cannot be seen is said."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from maintenance import refused, run_step
from old_logs import reclaiming, with_old_logs
from prefect_maintenance.database.connection import connect
from prefect_maintenance.measure import disk_space
from prefect_maintenance.measure.disk_space import Disks
from prefect_maintenance.plan.choices import Cost

from lab.fleet import FILL
from lab.postgres import Postgres
from lab.server import migrate

MIB = 2**20
OLD = 20_000
OLD_LOGS = f"""
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, repeat('m', 200), now() - interval '90 days'
FROM generate_series(1, {OLD})
"""
COPY = 60 * MIB


@contextmanager
def disk_of(owner: os.stat_result, folder: Path) -> Iterator[Path]:
    """Mount a small file system with a folder for the server; the folder is given."""
    if os.geteuid():
        pytest.skip("only root can mount the small file system that this needs")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", folder], check=True)
    try:
        place = folder / "place"
        place.mkdir()
        folder.chmod(0o755)
        os.chown(place, owner.st_uid, owner.st_gid)
        yield place
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path, leave: int) -> None:
    """Take the room of a small disk away except for so many bytes."""
    ballast = folder.parent / "ballast"
    ballast.unlink(missing_ok=True)
    ballast.write_bytes(b"0" * (shutil.disk_usage(folder).free - leave))


def no_room(url: str) -> str:
    with connect(url, 5.0) as database:
        return disk_space.shortage(Disks(database), COPY, "log")


@pytest.fixture
def roomy() -> Iterator[Postgres]:
    with Postgres() as server:
        migrate(server.create_database("roomy"))
        server.execute(FILL.format(days=20, rows=1), "roomy")
        yield server


def test_room_is_looked_for_where_table_wal_and_sorts_come_to_lie(roomy: Postgres) -> None:
    url = roomy.url("roomy")
    owner = roomy.data.stat()
    assert no_room(url) == ""
    wal = roomy.data / "pg_wal"
    with disk_of(owner, roomy.data.parent / "small") as small:
        # The table's own tablespace.
        roomy.execute(f"CREATE TABLESPACE small LOCATION '{small}'")
        roomy.execute("ALTER TABLE log SET TABLESPACE small", "roomy")
        assert no_room(url) == ""
        fill(small, leave=MIB)
        assert "for the table, 1.0 MiB is free" in no_room(url)
        assert f"on the disk of {small}" in no_room(url)
        roomy.execute("ALTER TABLE log SET TABLESPACE pg_default", "roomy")
        assert no_room(url) == ""
        # The sorts of the indexes.
        roomy.execute("ALTER DATABASE roomy SET temp_tablespaces = small")
        assert "for sorting, 1.0 MiB is free" in no_room(url)
        assert f"on the disk of {small}" in no_room(url)
        roomy.execute("ALTER DATABASE roomy RESET temp_tablespaces")
        assert no_room(url) == ""
        roomy.execute("DROP TABLESPACE small")
        # The WAL, which a symbolic link leads to.
        (small.parent / "ballast").unlink()
        roomy.stop()
        wal.rename(roomy.data.parent / "kept_wal")
        subprocess.run(["cp", "-a", roomy.data.parent / "kept_wal", small / "wal"], check=True)
        wal.symlink_to(small / "wal")
        try:
            roomy.start()
            # Deletions write WAL too: it may grow by more than there is.
            roomy.execute("ALTER SYSTEM SET max_wal_size = '64MB'")
            roomy.execute("SELECT pg_reload_conf()")
            assert scarce(url) == ""
            fill(small, leave=20 * MIB)
            assert "60.0 MiB of WAL, 20.0 MiB is free" in no_room(url)
            assert f"on the disk of {small / 'wal'}" in no_room(url)
            roomy.execute("ALTER SYSTEM SET max_wal_size = '1GB'")
            roomy.execute("SELECT pg_reload_conf()")
            asked: dict[str, Any] = {"db_url": url, "run_delete_via": "sql"}
            for step in ("purge", "delete"):
                warnings = " ".join(run_step(step, asked, check=True).report.warnings)
                assert f"the disk of the WAL, {small / 'wal'}, has" in warnings
            roomy.execute(OLD_LOGS, "roomy")
            fill(small, leave=2 * MIB)
            asked["purge_strategy"] = "delete"
            for check in (True, False):
                said = refused("purge", asked, disk_space.NoRoom, "of WAL, 2.0 MiB", check=check)
                assert "nothing was deleted: no room for deleting: it needs" in said
            # The other way needs less.
            asked["purge_strategy"] = "auto"
            decision = run_step("purge", asked, check=True).report.plan.decisions["log"]
            assert decision.strategy == "rewrite"
            assert roomy.execute("SELECT count(*) FROM log", "roomy")[0][0] > OLD
        finally:
            roomy.stop()
            wal.unlink()
            (roomy.data.parent / "kept_wal").rename(wal)


def scarce(url: str) -> str:
    with connect(url, 5.0) as database:
        return "; ".join(disk_space.scarce(Disks(database)))


def test_what_an_owner_cannot_see_of_the_disk_is_said_with_the_grant_that_shows_it(
    roomy: Postgres,
) -> None:
    roomy.execute("CREATE ROLE keeper LOGIN PASSWORD 'keeper'")
    url = roomy.url("roomy", "keeper", "keeper")
    with connect(url, 5.0) as database:
        assert disk_space.unknown(Disks(database)) is not None
        assert "GRANT pg_read_all_settings TO keeper" in str(disk_space.unknown(Disks(database)))
    roomy.execute(
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables "
        "WHERE schemaname = 'public' LOOP EXECUTE format('ALTER TABLE %I OWNER TO keeper', t); "
        "END LOOP; ALTER SCHEMA public OWNER TO keeper; END $$",
        "roomy",
    )
    asked = {"db_url": url, "purge_strategy": "rewrite", "before": ["purge", "vacuum"]}
    assert "GRANT pg_read_all_settings TO keeper" in str(run_step("bloat_info", asked).report)
    purged = run_step("purge", asked)
    assert "GRANT pg_read_all_settings TO keeper" in " ".join(purged.report.warnings)
    roomy.execute("GRANT pg_read_all_settings TO keeper")
    with connect(url, 5.0) as database:
        assert disk_space.unknown(Disks(database)) is None
        # Which is why too large a copy is refused now.
        free = shutil.disk_usage(roomy.data).free
        assert "no room" in str(disk_space.shortage(Disks(database), free, "log"))


DF = """= {data}
Filesystem 1024-blocks Used Available Capacity Mounted on
/dev/sda 1048576000 1024 1048574976 1% /data
= {data}/pg_wal
Filesystem 1024-blocks Used Available Capacity Mounted on
/dev/sdb 1024 1014 10 99% /wal
"""


def test_what_is_found_on_another_host_or_said_by_a_person_decides_in_the_later_steps(
    cluster: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = with_old_logs(database)
    monkeypatch.setattr(disk_space, "_LOCAL", ())

    def costs(**more: Any) -> Mapping[str, Cost]:
        asked = reclaiming(url, **{**more, "purge_strategy": "auto"})
        return run_step("purge", asked, check=True).report.plan.decisions["log"].costs

    for more in ({}, {"db_free_bytes": 2**40}):
        assert costs(**more)["rewrite"].why_not == ""
    # Enough for the copy, but not for the WAL of deletes.
    assert "5.0 MiB is free" in costs(db_free_bytes=5 * MIB)["delete"].why_not
    few = reclaiming(url, db_free_bytes=1000)
    refused("purge", few, disk_space.NoRoom, "1000 Bytes is free on the disk of", check=True)
    look = {"host": "db1", "path": str(cluster.data), "df": DF.format(data=cluster.data)}
    report = run_step("bloat_info", {"db_url": url, "disk": look}).report.as_json()
    assert report["forecast"]["disk"]["free_bytes"] == 1048574976 * 1024
    small = f"10.0 KiB is free on the disk of {cluster.data}/pg_wal"
    refused("purge", reclaiming(url, report=report), disk_space.NoRoom, small, check=True)
    with connect(url, 5.0) as opened:
        assert disk_space.unknown(Disks(opened)) is not None
        assert disk_space.unknown(Disks(opened, said=1)) is None
        # What the database has grown since is gone from what was free.
        room = Disks(opened, said=10**12, bytes_then=0).look()
    assert room is not None
    assert room.free["its"] < 10**12
