"""Replication that a rewrite would harm keeps a table from being rewritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect_maintenance.database.connection import Database, connect
from prefect_maintenance.measure import obstacles, relations
from rewriting import (
    fill_logs,
)

from lab.postgres import Postgres
from lab.server import migrate


def test_what_follows_the_changes_of_the_database_keeps_a_table_from_being_rewritten() -> None:
    options = {"wal_level": "logical", "max_slot_wal_keep_size": "64MB"}
    with Postgres(options=options) as followed:
        url = followed.create_database("followed")
        migrate(url)
        with connect(url, 5.0) as database:
            assert _in_the_way(database, 2**20) == []
            # A slot that is read now, but would be dropped if much more had to be held back.
            followed.execute("SELECT pg_create_physical_replication_slot('standby', true)")
            assert _in_the_way(database, 2**20) == []
            assert "slot standby can bear only" in _in_the_way(database, 2**30)[0]
            followed.execute("SELECT pg_drop_replication_slot('standby')")
            followed.execute(
                "SELECT pg_create_logical_replication_slot('stream', 'test_decoding')", "followed"
            )
            assert "slot stream decodes" in _in_the_way(database, 2**20)[0]


def test_a_standby_that_is_behind_keeps_a_table_from_being_rewritten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Postgres() as primary:
        url = primary.create_database("followed")
        migrate(url)
        with primary.standby() as standby, connect(url, 5.0) as database:
            assert _in_the_way(database, 2**20) == []
            standby.execute("SELECT pg_wal_replay_pause()")
            fill_logs(primary, url, 10_000)
            monkeypatch.setattr(obstacles, "LAG", 2**20)
            assert "behind" in _in_the_way(database, 2**20)[0]


def test_an_index_that_is_replaced_while_one_looks_is_no_crash(
    cluster: Postgres, database: str
) -> None:
    with connect(database, 5.0) as looking, looking.snapshot():
        before = relations.shape(looking, "log")
        # PostgreSQL drops and makes the index again; only the snapshot still lists the old one.
        with connect(database, 5.0) as other:
            other.ddl("ALTER TABLE log ALTER COLUMN level TYPE bigint")
        listed = {index.name for index in relations.indexes(looking, "log")}
        assert "(level" in before["indexes"]
        assert not any("level" in name for name in listed)
        assert relations.shape(looking, "log") != before
        assert obstacles.refusals(looking, "log") == []


def _in_the_way(database: Database, kept: int) -> list[str]:
    # How much room the disk of the tests' machine has is not the question here.
    found = obstacles.obstacles(database, "log", kept)
    return [reason for reason in found if "no room" not in reason]
