"""A purge waits for a server that has enough to bear, says why, and goes on when it has not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from burdens import WRITE, at_work, configure, helped, reading, write_segments
from maintenance import clear, engine_for, run_step, table, wait_until
from prefect_maintenance.errors import Stopped
from prefect_maintenance.events import Event, Events, Progress
from prefect_maintenance.execute import copy
from prefect_maintenance.measure import disk_gauge, load_reader
from prefect_maintenance.pace import throttling
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from rewriting import LOGS

from lab.postgres import PASSWORD, Postgres
from lab.server import migrate

NAME = "throttled"
ROWS = 300
LEFT = ROWS // 3
LET = "GRANT pg_read_all_stats TO keeper"
BEHIND = "SELECT 1 FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_lsn()"
STREAMING = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL"
YOUNG_UPDATED = "UPDATE log SET level = 30 WHERE timestamp > now() - interval '1 day'"
VACUUMED = "SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = to_regclass('log')"


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    """A cluster that archives, and whose autovacuum looks every second."""
    with Postgres(options={"archive_mode": "on", "autovacuum_naptime": "1s"}) as running:
        configure(running, archive_command="/bin/true")
        migrate(running.create_database(NAME))
        running.execute("CREATE ROLE keeper LOGIN PASSWORD 'keeper'")
        yield running


@pytest.fixture(scope="module")
def standby(primary: Postgres) -> Iterator[Postgres]:
    """A standby of it that follows."""
    with primary.standby() as running:
        wait_until(lambda: primary.execute(STREAMING), 30, "the standby did not connect")
        yield running


@pytest.fixture(autouse=True)
def _always_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on how old the last look is, and none wait for the next."""
    monkeypatch.setattr(load_reader, "_EVERY", 0.0)
    monkeypatch.setattr(throttling, "_EVERY", 0.05)


@pytest.fixture
def url(primary: Postgres) -> str:
    """A database of which two in three logs are to go."""
    url = primary.url(NAME)
    clear(engine_for(url))
    primary.execute(LOGS.format(rows=ROWS), NAME)
    return url


def asked(url: str, **throttle: Any) -> dict[str, Any]:
    return {"db_url": url, "purge_strategy": "delete", "batch_size": 50, "throttle": throttle}


def logs(cluster: Postgres) -> int:
    return int(cluster.execute("SELECT count(*) FROM log", NAME)[0][0])


def until_replayed(cluster: Postgres) -> None:
    wait_until(lambda: not cluster.execute(BEHIND), 30, "the standby does not replay")


def test_a_standby_that_replays_no_more_is_waited_for(
    primary: Postgres, standby: Postgres, url: str
) -> None:
    until_replayed(primary)

    def pause() -> None:
        standby.execute("SELECT pg_wal_replay_pause()")
        primary.execute(WRITE, NAME)

    def resume() -> None:
        standby.execute("SELECT pg_wal_replay_resume()")
        until_replayed(primary)

    with helped("replica", "standby walreceiver is", resume, pause) as pace:
        done = run_step("purge", asked(url, replica_lag_bytes=500_000), pace=pace)
    assert done.report.status == "ok"
    assert logs(primary) == LEFT


@pytest.mark.usefixtures("standby")
def test_a_standby_whose_lag_is_hidden_is_said_once_with_what_helps(primary: Postgres) -> None:
    with reading(primary.url(NAME, "keeper", "keeper")) as (read, told):
        seen = [read(), read()]
    assert [[one.bytes for one in look.standbys] for look in seen if look] == [[None], [None]]
    assert [LET in text for text in told] == [True]


def test_a_standby_that_goes_ends_the_step_in_the_end_and_a_later_run_finishes(
    primary: Postgres, standby: Postgres, url: str
) -> None:
    def gone() -> None:
        standby.stop("immediate")
        wait_until(lambda: not primary.execute("SELECT 1 FROM pg_stat_replication"))

    told = "standby walreceiver has gone since the work began"
    with helped("replica", told, lambda: None, gone) as pace:
        settings = Settings.parse(asked(url, give_up=1), check=False)
        done = STEPS["purge"](settings, pace)
    standby.start()
    assert isinstance(done.error, Stopped)
    assert f"gave up after 1 s of waiting at log: {told}; run again" in str(done.error)
    assert done.report.status == "partial"
    assert LEFT < logs(primary) == ROWS - done.report.deleted["log"]
    run_step("purge", asked(url))
    assert logs(primary) == LEFT


@pytest.mark.parametrize("strategy", ["delete", "rewrite"])
def test_wal_that_cannot_be_archived_is_waited_for_by_deletes_and_in_a_copy(
    primary: Postgres, url: str, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "_PIECE", LEFT // 3)

    def fail() -> None:
        configure(primary, archive_command="/bin/false")
        write_segments(primary, NAME)

    def mend() -> None:
        assert logs(primary) == ROWS or strategy == "delete"
        configure(primary, archive_command="/bin/true")

    more = {"purge_strategy": strategy}
    with helped("archive", "WAL segments wait for the archive", mend, fail) as pace:
        done = run_step("purge", {**asked(url, archive_segments=1), **more}, pace=pace)
    assert logs(primary) == LEFT
    assert (strategy == "rewrite") == (table(done).strategy == "rewrite")


def test_the_archive_is_reckoned_by_a_role_that_may_not_look_there(primary: Postgres) -> None:
    def lines(user: str = "postgres", password: str = PASSWORD) -> int | None:
        with reading(primary.url(NAME, user, password)) as (read, _):
            seen = read()
        assert seen is not None
        return seen.archive

    wait_until(lambda: lines() == 0, 30, "the archive does not catch up")
    assert lines("keeper", "keeper") == 0
    configure(primary, archive_command="/bin/false")
    try:
        write_segments(primary, NAME)
        failed = "SELECT last_failed_time > last_archived_time FROM pg_stat_archiver"
        wait_until(lambda: primary.execute(failed)[0][0], 30, "no archiving has failed")
        assert lines() == lines("keeper", "keeper") == 3
    finally:
        configure(primary, archive_command="/bin/true")


def test_a_slot_that_can_bear_little_more_is_waited_for(primary: Postgres, url: str) -> None:
    configure(primary, max_slot_wal_keep_size="64MB")
    primary.execute("SELECT pg_create_physical_replication_slot('away', true)")

    def drop() -> None:
        primary.execute("SELECT pg_drop_replication_slot('away')")

    with helped(
        "slot", "replication slot away can bear only", drop, partial(write_segments, primary, NAME)
    ) as pace:
        run_step("purge", asked(url), pace=pace)
    assert logs(primary) == LEFT


def test_sessions_that_come_to_work_are_waited_for_and_those_before_are_not(
    primary: Postgres, url: str
) -> None:
    with ExitStack() as early, ExitStack() as late:

        def work(stack: ExitStack, number: int) -> None:
            for _ in range(number):
                stack.enter_context(at_work(primary, NAME))
            many = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
            wait_until(lambda: primary.execute(many)[0][0] >= number)

        work(early, 2)
        told = "11 sessions are at work in the database, 2 were before"
        with helped("sessions", told, late.close, lambda: work(late, 9)) as pace:
            run_step("purge", asked(url), pace=pace)
    assert logs(primary) == LEFT


def test_autovacuum_on_the_table_is_waited_for_unless_it_follows_the_purge_itself(
    primary: Postgres, url: str
) -> None:
    primary.execute(LOGS.format(rows=9000), NAME)
    begun: list[Event] = []

    def begin(event: Event) -> None:
        if not begun and isinstance(event, Progress) and event.unit == "rows":
            begun.append(event)
            primary.execute(
                "ALTER TABLE log SET (autovacuum_vacuum_threshold = 1, "
                "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, "
                "autovacuum_vacuum_cost_limit = 1)",
                NAME,
            )
            primary.execute(YOUNG_UPDATED, NAME)
            wait_until(lambda: primary.execute(VACUUMED, NAME), 60, "autovacuum does not come")

    def end() -> None:
        primary.execute("ALTER TABLE log SET (autovacuum_enabled = false)", NAME)

    try:
        beside = Pace(Events(begin))
        run_step("purge", {**asked(url), "batch_size": 3000}, pace=beside)
        assert begun
        assert beside.events.waited == {}
        assert logs(primary) == LEFT + 3000
        assert primary.execute(VACUUMED, NAME)
        primary.execute(LOGS.format(rows=ROWS), NAME)
        with helped("autovacuum", "autovacuum is at work on log", end) as pace:
            run_step("purge", {**asked(url), "batch_size": 3000}, pace=pace)
    finally:
        primary.execute("ALTER TABLE log RESET (autovacuum_enabled, autovacuum_vacuum_threshold, "
                        "autovacuum_vacuum_scale_factor, autovacuum_vacuum_cost_delay, "
                        "autovacuum_vacuum_cost_limit)", NAME)  # fmt: skip
    assert logs(primary) == LEFT + 3000 + LEFT


def test_a_session_that_is_lost_is_opened_again_and_one_that_cannot_be_had_is_no_look(
    primary: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_reader, "_AGAIN", 0.0)
    with reading(primary.url(NAME)) as (read, told):

        def lose() -> None:
            end = "SELECT pg_terminate_backend(%s, 30000)"
            primary.execute(end, values=(read._session.info.backend_pid,))

        assert read() is not None
        lose()
        assert read() is not None
        assert told == []
        primary.execute(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS false")
        lose()
        assert read() is None
        primary.execute(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS true")
        assert read() is not None
        assert ["cannot be seen" in text for text in told] == [True]


def test_a_disk_elsewhere_that_others_fill_is_waited_for(
    primary: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_gauge, "data_directory", lambda _: "it runs on another machine")
    size = primary.execute("SELECT pg_database_size(current_database())", NAME)[0][0]
    # So much that the segments of WAL which the work itself may need do not matter beside it.
    fills = (
        "CREATE UNLOGGED TABLE fills AS "
        f"SELECT repeat('f', 900) FROM generate_series(1, {14 * size // 900})"
    )
    fill, empty = (partial(primary.execute, sql, NAME) for sql in (fills, "DROP TABLE fills"))
    with helped("disk", "of the disk of the database are free", empty, fill) as pace:
        request = {**asked(url, disk_free_percent=70), "db_free_bytes": 40 * size}
        done = run_step("purge", request, pace=pace)
    assert done.report.status == "ok"
    assert logs(primary) == LEFT
