"""Whatever happens to a rewrite: no row lost, none doubled, no debris after the next run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import prefect_maintenance
import pytest
import sqlalchemy as sa
from maintenance import at_first_batch, engine_for, name_of, run_step, small_disk, wait_until
from prefect_maintenance.errors import Busy, Stopped
from prefect_maintenance.measure.room import Room
from prefect_maintenance.pace.signals import Signals
from rewriting import (
    REWRITTEN,
    by_rewrite,
    debris,
    fill_logs,
    ids,
    kept_by_deletes,
    purge,
    strategy,
)
from world import Dump, dump

from lab.environments import NEWEST, prefect
from lab.postgres import Postgres
from lab.server import PrefectServer, asynchronous, migrate


def left(url: str) -> Dump:
    engine = engine_for(url)
    found = dump(engine, REWRITTEN)
    engine.dispose()
    return found


# Carries out a purge by rewrite and is killed while a statement of it is under way.
KILLED = """
import os, signal, sys, threading
from prefect_maintenance.database.connection import Database
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS

really, left = Database._execute, [int(sys.argv[2])]

def deadly(self, sql, values):
    left[0] -= 1
    if not left[0]:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGKILL)).start()
    return really(self, sql, values)

Database._execute = deadly
asked = {"db_url": sys.argv[1], "purge_strategy": "rewrite"}
STEPS["purge"](Settings.parse(asked, check=False), Pace())
"""


def test_a_killed_process_leaves_every_row_and_the_next_run_finishes(
    cluster: Postgres, database: str
) -> None:
    young = fill_logs(cluster, database, 60_000)
    every = set(ids(cluster, database))
    path = str(Path(prefect_maintenance.__file__).parents[1])
    killed = 0
    for statement in range(15, 150, 18):
        process = subprocess.run(
            [sys.executable, "-c", KILLED, database, str(statement)],
            env={**os.environ, "PYTHONPATH": path},
        )
        killed += process.returncode == -signal.SIGKILL
        found = ids(cluster, database)
        assert len(found) == len(set(found))
        assert young <= set(found) <= every
    assert killed > 3
    wait_for_the_dead(cluster, database)
    purge(database)
    assert sorted(ids(cluster, database)) == sorted(young)
    assert debris(cluster, database) == []


def wait_for_the_dead(cluster: Postgres, url: str) -> None:
    """The session of a client that was killed ends some seconds later, whatever it is at."""
    mine = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'prefect-maint%%'"
    wait_until(lambda: not cluster.execute(mine, name_of(url)), 20, "a dead one's session lives on")


def test_the_statement_of_a_killed_process_does_not_go_on_without_it(
    cluster: Postgres, database: str
) -> None:
    script = (
        "import os; from prefect_maintenance.database.connection import connect\n"
        "with connect(os.environ['URL'], 5) as database:\n"
        "    print('begin', flush=True)\n"
        "    database.scalar('SELECT pg_sleep(600)')"
    )
    path = str(Path(prefect_maintenance.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path, "URL": database},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begin\n"
        process.kill()
    wait_for_the_dead(cluster, database)


def test_a_stop_in_the_middle_leaves_the_table_as_it_was(cluster: Postgres, filled: str) -> None:
    wanted, before = kept_by_deletes(cluster, filled), left(filled)
    signals = Signals()
    with (
        at_first_batch("log", lambda: signals.note("SIGTERM"), signals) as pace,
        pytest.raises(Stopped, match="stopped by SIGTERM while at log"),
    ):
        run_step("purge", by_rewrite(filled), pace=pace)
    assert left(filled) == before
    assert debris(cluster, filled) == []
    run_step("purge", by_rewrite(filled))
    assert left(filled) == wanted


def test_a_second_run_is_told_who_is_at_work(filled: str, cluster: Postgres) -> None:
    wanted = kept_by_deletes(cluster, filled)
    refusals: list[str] = []

    def second() -> None:
        with pytest.raises(Busy) as refused:
            run_step("purge", by_rewrite(filled))
        refusals.append(str(refused.value))

    with at_first_batch("log", second) as pace:
        run_step("purge", by_rewrite(filled), pace=pace)
    assert "another maintenance run is at work" in refusals[0]
    assert left(filled) == wanted


def test_a_change_of_the_tables_shape_meanwhile_is_kept(cluster: Postgres, filled: str) -> None:
    wanted = kept_by_deletes(cluster, filled)

    def migrate_meanwhile() -> None:
        for sql in ("ALTER TABLE log ADD COLUMN extra int DEFAULT 7", "DROP INDEX ix_log__level"):
            cluster.execute(sql, name_of(filled))

    with at_first_batch("log", migrate_meanwhile) as pace:
        outcome = run_step("purge", by_rewrite(filled), pace=pace)
    assert any("waits for AccessExclusive on log" in w for w in outcome.report.warnings)
    assert strategy(outcome).startswith("delete")
    logs = left(filled)["log"]
    assert {row["extra"] for row in logs.values()} == {7}
    assert set(logs) == set(wanted["log"])
    assert debris(cluster, filled) == []


def test_the_next_migrations_of_prefect_find_the_schema_they_expect(
    cluster: Postgres, filled: str
) -> None:
    wanted = kept_by_deletes(cluster, filled)
    assert strategy(run_step("purge", by_rewrite(filled))) == "rewrite"
    # Back by the migrations that made indexes of event_resources, and forth again.
    _database_command(filled, "downgrade", "-y", "-r", "7218aad17905")
    migrate(filled)
    found = left(filled)
    assert {table: set(rows) for table, rows in found.items()} == {
        table: set(rows) for table, rows in wanted.items()
    }


def _database_command(url: str, *arguments: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(
            [prefect(NEWEST).parent / "prefect", "server", "database", *arguments],
            env={
                **os.environ,
                "PREFECT_HOME": home,
                "PREFECT_API_DATABASE_CONNECTION_URL": asynchronous(url),
            },
            check=True,
            capture_output=True,
        )


def test_a_full_disk_leaves_every_row_and_the_purge_goes_on_by_deletes(
    cluster: Postgres, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if somebody had filled the disk only after room was looked for.
    monkeypatch.setattr(Room, "lacking", lambda *_: "")
    with small_disk(cluster, template, "on_a_small_disk") as disk:
        young = fill_logs(cluster, disk.url, 60_000)
        disk.fill(leave=4 * 2**20)
        outcome = purge(disk.url)
        assert "disk is full" in " ".join(outcome.report.warnings)
        assert strategy(outcome).startswith("delete")
        assert sorted(ids(cluster, disk.url)) == sorted(young)
        assert debris(cluster, disk.url) == []


def test_autovacuum_gives_way_and_writers_do_not_wait_for_it() -> None:
    options = {
        "autovacuum_naptime": "1s",
        "autovacuum_vacuum_threshold": "100",
        "autovacuum_vacuum_cost_delay": "50ms",
        "autovacuum_vacuum_cost_limit": "10",
    }
    with Postgres(options=options) as busy:
        url = busy.create_database("busy")
        migrate(url)
        young = fill_logs(busy, url, 90_000)
        gone = "DELETE FROM log WHERE timestamp < now() - interval '1 day' AND level = 20"
        busy.execute(gone + " AND id::text < '8'", "busy")
        working = (
            "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' "
            "AND query LIKE '%%public.log%%'"
        )
        wait_until(lambda: busy.execute(working, "busy"), 30, "autovacuum did not begin")
        slowest = [0.0]
        over = threading.Event()

        def write() -> None:
            engine = engine_for(url)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                while not over.wait(0.02):
                    began = time.monotonic()
                    connection.execute(
                        sa.text(
                            "INSERT INTO log (id, name, level, message, timestamp) "
                            "VALUES (gen_random_uuid(), 'new', 20, 'm', now())"
                        )
                    )
                    slowest[0] = max(slowest[0], time.monotonic() - began)
            engine.dispose()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            outcome = run_step("purge", {"db_url": url, "purge_strategy": "rewrite"})
        finally:
            over.set()
            writer.join()
        assert (strategy(outcome), outcome.report.warnings) == ("rewrite", ())
        assert young <= set(ids(busy, url))
        # Autovacuum would have kept its lock for minutes; nobody queued behind our asking for it.
        assert slowest[0] < 2


def test_prefects_own_writing_and_vacuuming_go_on_meanwhile(
    cluster: Postgres, database: str, start_server: Callable[..., PrefectServer], tmp_path: Path
) -> None:
    fill_logs(cluster, database, 20_000)
    server = start_server(
        database,
        environment={
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "2",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P30D",
        },
    )
    script = tmp_path / "talk.py"
    script.write_text(
        "from prefect import flow, get_run_logger\n"
        "@flow\n"
        "def talk():\n"
        "    for line in range(200):\n"
        "        get_run_logger().info('said %d', line)\n"
        "for _ in range(8):\n"
        "    talk()\n"
    )
    over = threading.Event()
    rewrites = [0]

    def rewrite_again_and_again() -> None:
        while not over.is_set():
            old = "UPDATE log SET timestamp = timestamp - interval '90 days' WHERE name = 'l'"
            cluster.execute(f"{old} AND id::text < '1'", name_of(database))
            outcome = purge(database)
            rewrites[0] += strategy(outcome) == "rewrite"

    busy = threading.Thread(target=rewrite_again_and_again)
    busy.start()
    try:
        server.run(script)
    finally:
        over.set()
        busy.join()
    said = "SELECT count(*), count(DISTINCT id) FROM log WHERE message LIKE 'said %%'"
    assert cluster.execute(said, name_of(database)) == [(1600, 1600)]
    assert rewrites[0] > 0
    assert debris(cluster, database) == []
