"""A standby or slot that a rewrite would harm is seen by a mere owner too, or named as unseen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from maintenance import run_step, wait_until
from prefect_maintenance.database.connection import connect
from prefect_maintenance.measure import obstacles

from lab.fleet import FILL
from lab.postgres import Postgres
from lab.server import migrate

KEPT = 2**20
LET = "GRANT pg_read_all_stats TO keeper"


@pytest.fixture(scope="module")
def followed() -> Iterator[Postgres]:
    """A primary with a database of an owner who is no superuser."""
    with Postgres() as primary:
        migrate(primary.create_database("followed"))
        primary.execute(FILL.format(days=20, rows=1), "followed")
        primary.execute("CREATE ROLE keeper LOGIN PASSWORD 'keeper'")
        primary.execute("ALTER DATABASE followed OWNER TO keeper")
        primary.execute(
            "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables "
            "WHERE schemaname = 'public' LOOP EXECUTE format('ALTER TABLE %I OWNER TO keeper', t); "
            "END LOOP; ALTER SCHEMA public OWNER TO keeper; END $$",
            "followed",
        )
        yield primary


def in_the_way(url: str) -> list[str]:
    with connect(url, 5.0) as database:
        return [
            reason
            for reason in obstacles.obstacles(database, "log", KEPT)
            if "standby" in reason or "slot" in reason
        ]


def until_connected(primary: Postgres) -> None:
    streaming = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"
    wait_until(lambda: primary.execute(streaming), 30, "the standby did not connect")


def test_a_standby_whose_lag_is_hidden_keeps_tables_from_being_rewritten_and_says_why(
    followed: Postgres,
) -> None:
    url = followed.url("followed", "keeper", "keeper")
    assert in_the_way(url) == []
    before = {"db_url": url, "before": ["purge", "vacuum"]}
    assert "pg_read_all_stats" not in str(run_step("bloat_info", before).report.warnings)
    with followed.standby():
        until_connected(followed)
        hidden = in_the_way(url)
        assert len(hidden) == 1
        assert LET in hidden[0]
        said = [w for w in run_step("bloat_info", before).report.warnings if "pg_read_all_st" in w]
        assert len(said) == 1
        assert "TO keeper" in said[0]
        purged = run_step("purge", {"db_url": url, "purge_strategy": "rewrite"})
        strategy = next(t.strategy for t in purged.report.tables if t.name == "log")
        assert strategy.startswith("delete")
        assert LET in " ".join(purged.report.warnings)
        # What it says is what helps.
        followed.execute(LET)
        assert in_the_way(url) == []
        assert "pg_read_all_st" not in str(run_step("bloat_info", before).report.warnings)
        followed.execute("REVOKE pg_read_all_stats FROM keeper")


def test_a_slot_whose_standby_is_gone_keeps_tables_from_being_rewritten_for_an_owner_too(
    followed: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = followed.url("followed", "keeper", "keeper")
    followed.execute("SELECT pg_create_physical_replication_slot('away', true)")
    try:
        assert in_the_way(url) == []
        monkeypatch.setattr(obstacles, "LAG", 2**18)
        followed.execute(
            "CREATE TABLE written AS SELECT n, repeat('x', 200) FROM generate_series(1, 9000) n"
        )
        assert ["slot away is read by nobody" in reason for reason in in_the_way(url)] == [True]
    finally:
        followed.execute("SELECT pg_drop_replication_slot('away')")
        followed.execute("DROP TABLE IF EXISTS written")
    assert in_the_way(url) == []
