"""What keeps VACUUM from its work is found, the oldest first, with what helps; statements never."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from maintenance import run_step, wait_until
from old_logs import ROWS, reclaiming, with_old_logs
from prefect_maintenance.database.connection import connect
from prefect_maintenance.measure.blockers import Blocker, Old, blockers

from lab.postgres import PASSWORD, Postgres
from lab.server import migrate

SECRET = "s3cret-in-a-statement"
NOW = Old(seconds=0, transactions=1)
SOON = Old(seconds=3600, transactions=1)


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    """A cluster of its own, whose slots and prepared transactions are nobody else's."""
    options = {
        "max_prepared_transactions": "5",
        "wal_level": "logical",
        "hot_standby_feedback": "on",
        "wal_receiver_status_interval": "1s",
    }
    with Postgres(options=options) as running:
        migrate(running.create_database("held"))
        running.execute("CREATE ROLE mere LOGIN PASSWORD 'mere'")
        running.execute("GRANT USAGE ON SCHEMA public TO mere", "held")
        yield running


@contextmanager
def session(
    cluster: Postgres, *statements: str, name: str = "psql", host: int | None = None
) -> Iterator[Any]:
    """Be in a transaction that has carried out statements."""
    connection = psycopg2.connect(
        host="127.0.0.1", port=host or cluster.port, user="postgres", password=PASSWORD,
        dbname="held", application_name=name,
    )  # fmt: skip
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        yield connection
    finally:
        connection.close()


SNAPSHOT = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", f"SELECT '{SECRET}'")


def found(cluster: Postgres, old: Old = NOW, user: str = "postgres") -> list[Blocker]:
    password = PASSWORD if user == "postgres" else user
    with connect(cluster.url("held", user, password), 5.0) as database:
        return list(blockers(database, old))


def spend(cluster: Postgres) -> None:
    """Let transactions begin and end."""
    for _ in range(3):
        cluster.execute("SELECT pg_current_xact_id()", "held")


def test_nothing_is_in_the_way_of_a_server_at_rest(primary: Postgres) -> None:
    assert found(primary) == []


def test_an_old_snapshot_comes_before_a_younger_one_and_no_statement_is_shown(
    primary: Postgres,
) -> None:
    with session(primary, *SNAPSHOT, name="old") as old:
        spend(primary)
        with session(primary, *SNAPSHOT, name="young"):
            first, second = found(primary)
            assert found(primary, Old()) == []
        pid = old.info.backend_pid
    assert first.what == f"old as postgres, pid {pid}, idle in transaction"
    assert (first.kind, first.keeps_rows, first.bytes) == ("transaction", True, None)
    assert first.age_seconds is not None
    assert first.do == f"SELECT pg_terminate_backend({pid})"
    assert second.what.startswith("young as postgres")
    assert SECRET not in repr((first, second))


def test_an_idle_transaction_without_a_snapshot_is_said_to_hold_its_locks_alone(
    primary: Postgres,
) -> None:
    with session(primary, "SELECT 1 FROM log"):
        [one] = found(primary)
    assert not one.keeps_rows
    assert "locks keep VACUUM from cutting tables short" in one.text


def test_the_maintenance_itself_is_in_nobodys_way(primary: Postgres) -> None:
    with session(primary, *SNAPSHOT, name="prefect-maintenance elsewhere pid 7"):
        assert found(primary) == []


def test_a_transaction_in_another_database_keeps_no_rows_of_this_one(primary: Postgres) -> None:
    primary.create_database("other")
    with session(primary, *SNAPSHOT), connect(primary.url("other"), 5.0) as database:
        assert blockers(database, NOW) == ()


def test_a_prepared_transaction_is_named_with_the_statement_that_ends_it(
    primary: Postgres,
) -> None:
    with session(primary, "CREATE TABLE made ()", "PREPARE TRANSACTION 'it''s left'"):
        pass
    [one] = found(primary)
    assert (one.kind, one.keeps_rows) == ("prepared", True)
    assert one.what == "prepared transaction 'it''s left' of postgres"
    remedy = one.do.partition(" or ")[2]
    assert remedy == "ROLLBACK PREPARED 'it''s left'"
    primary.execute(remedy, "held")
    assert found(primary) == []


def test_a_slot_that_nobody_reads_is_named_with_the_wal_that_it_holds(primary: Postgres) -> None:
    primary.execute("SELECT pg_create_logical_replication_slot('gone', 'pgoutput')", "held")
    spend(primary)
    [one] = found(primary, Old())
    assert (one.kind, one.what) == ("slot", "replication slot 'gone'")
    assert one.bytes
    assert "is read by nobody and keeps dead rows of the catalogs" in one.text
    # Rows of the catalogs are none of Prefect's.
    assert not one.keeps_rows
    primary.execute(one.do.partition(" when ")[0], "held")
    assert found(primary) == []


def test_a_query_on_a_standby_with_feedback_is_named_where_it_runs(primary: Postgres) -> None:
    with primary.standby() as standby:
        wait_until(lambda: standby.execute("SELECT 1 FROM pg_stat_wal_receiver"))
        with session(primary, *SNAPSHOT, host=standby.port):
            spend(primary)
            # The standby tells what it still reads once a second.
            [one] = wait_until(lambda: found(primary, SOON))
        with connect(standby.url("held"), 5.0) as database:
            assert blockers(database, NOW) == ()
    assert (one.kind, one.keeps_rows) == ("standby", True)
    assert one.what == "standby walreceiver"
    assert "hot_standby_feedback" in one.do


def test_what_a_mere_role_cannot_see_of_a_session_is_said_once_with_the_grant(
    primary: Postgres,
) -> None:
    with session(primary, *SNAPSHOT) as one, session(primary, *SNAPSHOT) as other:
        spend(primary)
        *seen, last = found(primary, user="mere")
        pids = {one.info.backend_pid, other.info.backend_pid}
        assert {f"SELECT pg_terminate_backend({pid})" for pid in pids} == {s.do for s in seen}
        assert all(s.age_seconds is None and s.keeps_rows for s in seen)
        assert (last.kind, last.keeps_rows) == ("hidden", False)
        primary.execute(last.do)
        assert [s.kind for s in found(primary, user="mere")] == ["transaction"] * 2


def test_the_report_of_a_run_says_which_dead_rows_a_snapshot_kept(primary: Postgres) -> None:
    url = with_old_logs(primary.url("held"))
    with session(primary, *SNAPSHOT) as old:
        purged = run_step("purge", reclaiming(url))
        so_far = reclaiming(url, vacuum="plain", report=purged.report.as_json())
        report = run_step("vacuum", so_far).report
        pid = old.info.backend_pid
    [told] = [text for text in report.warnings if "VACUUM could not remove" in text]
    assert f"{ROWS * 9 // 10:,} dead rows of log" in told
    assert f"psql as postgres, pid {pid}" in told
    [one] = report.blockers
    needs = report.as_json()["verdict"]["needs"]
    assert {"text": one.text, "do": f"SELECT pg_terminate_backend({pid})"} in needs
    assert not any("dead tuples are left" in need["text"] for need in needs)
    later = run_step("vacuum", so_far).report
    assert (later.blockers, later.warnings) == ((), purged.report.warnings)
