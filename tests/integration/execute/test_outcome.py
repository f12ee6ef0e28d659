"""What failed is never reported as done, and what cannot give anything back is not rewritten."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from maid import MAID, as_maid
from maintenance import clear, engine_for, name_of, run_step, table, wait_until
from old_logs import ROWS, reclaiming, with_old_logs
from paces import paced
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.privileges import knows_maintain
from prefect_maintenance.errors import ConnectionFailed, StepFailed
from prefect_maintenance.events import Event, Events, Progress, Reclaimed
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.report.markdown import markdown
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.run.outcome import Outcome

from lab.postgres import Postgres

EVENTS = """
INSERT INTO events (id, occurred, received, recorded, event, resource_id, resource, related,
                    related_resource_ids, payload)
SELECT gen_random_uuid(), now() - (n % 10 > 0)::int * interval '90 days', now(), now(), 'e', 'r',
       '{{}}', '[]', '[]', '{{}}' FROM generate_series(1, {rows}) n
"""


def carry_out(step: str, asked: dict[str, Any], pace: Pace | None = None) -> Outcome:
    """Carry out a step and return its outcome, which may be a failure."""
    return STEPS[step](Settings.parse(asked, check=False), pace or Pace())


@contextmanager
def somebody_at(url: str, on: str = "log") -> Iterator[None]:
    """Read a table of PostgreSQL, or write to an SQLite file, until the end of the block."""
    engine = engine_for(url)
    with engine.connect() as other:
        if engine.dialect.name == "postgresql":
            other.execute(sa.text(f"SELECT count(*) FROM {on}"))
        else:
            other.exec_driver_sql("BEGIN IMMEDIATE")
        yield
    engine.dispose()


def test_a_rewrite_that_failed_is_reported_as_done_nowhere(url: str) -> None:
    purged = run_step("purge", reclaiming(url))
    asked = reclaiming(url, vacuum="full", lock_timeout=0.2, report=purged.report.as_json())
    with somebody_at(url):
        outcome = carry_out("vacuum", asked)
    assert isinstance(outcome.error, StepFailed)
    assert not outcome.changed
    report = outcome.report
    assert report.status == "partial", "the rows of the purge are gone"
    sqlite = "sqlite" in url
    assert report.database.get("reclaim", "none") == "none"
    assert table(outcome).reclaim == "none"
    assert (report.database["error"] if sqlite else table(outcome).error) is not None
    if not sqlite:
        assert table(outcome, "events").reclaim == "plain", "the others were done"
    shown = "\n".join(outcome.summary)
    written = markdown(report.as_json())
    for text in (shown, written):
        assert "rewritten" not in text
        assert "VACUUM FULL" not in text
        assert "FAILED" in text
    again = run_step("vacuum", reclaiming(url, vacuum="full"))
    assert again.changed
    assert "rewritten:" in "\n".join(again.summary)


def test_of_two_tables_only_the_one_that_was_rewritten_is_reported_so(
    database: str, cluster: Postgres
) -> None:
    url = with_old_logs(database)
    cluster.execute(EVENTS.format(rows=ROWS), name_of(url))
    run_step("purge", reclaiming(url))
    with somebody_at(url, "events"):
        outcome = carry_out("vacuum", reclaiming(url, vacuum="full", lock_timeout=0.2))
    assert isinstance(outcome.error, StepFailed)
    assert outcome.changed
    assert outcome.report.status == "partial"
    assert (table(outcome).reclaim, table(outcome).error) == ("full", None)
    assert table(outcome, "events").reclaim == "none"
    assert "events" in str(table(outcome, "events").error)
    rewritten = outcome.summary[outcome.summary.index("  rewritten:") + 1 :]
    assert rewritten[0].startswith("    log: ")
    assert not any(line.startswith("    events: ") for line in rewritten)


def test_a_file_that_was_rewritten_while_somebody_reads_it_says_when_its_space_comes_back(
    sqlite_database: str,
) -> None:
    url = with_old_logs(sqlite_database)
    engine = engine_for(url)
    with engine.connect() as reader:
        reader.exec_driver_sql("PRAGMA journal_mode = WAL")
        run_step("purge", reclaiming(url))
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT count(*) FROM log").scalar_one()
        outcome = carry_out("vacuum", reclaiming(url, lock_timeout=0.2))
    engine.dispose()
    assert isinstance(outcome.error, StepFailed)
    assert (outcome.changed, outcome.report.status) == (True, "partial")
    assert "    the whole file: its space comes back later, see below" in [
        line.split("; locked")[0] for line in outcome.summary
    ]
    assert "comes back at the next checkpoint" in outcome.report.errors[0]


def test_what_was_rewritten_before_the_connection_was_lost_is_not_forgotten(
    database: str, cluster: Postgres
) -> None:
    url = with_old_logs(database)
    run_step("purge", reclaiming(url))

    def lose_it(event: Event) -> None:
        if isinstance(event, Reclaimed) and event.table == "log":
            cluster.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s "
                "AND pid <> pg_backend_pid()",
                values=(name_of(url),),
            )

    outcome = carry_out("vacuum", reclaiming(url), Pace(Events(lose_it)))
    assert isinstance(outcome.error, ConnectionFailed)
    assert (outcome.changed, outcome.report.status) == (True, "partial")
    assert table(outcome).reclaim == "rewrite"


def test_a_table_that_postgresql_skips_with_a_warning_fails_and_the_others_are_vacuumed(
    database: str, cluster: Postgres
) -> None:
    url = with_old_logs(database)
    name = name_of(url)
    run_step("role", {"db_url": url, **MAID})
    with connect(url, 5.0) as there:
        newest = knows_maintain(there)
    if not newest:
        run_step("role", {"db_url": url, **MAID, "own": True})
    taken = "REVOKE MAINTAIN ON log FROM maid" if newest else "REVOKE postgres FROM maid"
    holder = engine_for(url).connect()
    waits = "SELECT 1 FROM pg_stat_activity WHERE usename = 'maid' AND wait_event_type = 'Lock'"

    def take_it_away() -> None:
        wait_until(lambda: cluster.execute(waits), 60)
        holder.execute(sa.text(taken))
        holder.commit()

    taker = threading.Thread(target=take_it_away)

    def hold_the_table(progress: Progress) -> None:
        if progress.table == "log":
            # From here on the right is looked for, found, and gone when the statement begins.
            holder.execute(sa.text("LOCK TABLE log IN ACCESS EXCLUSIVE MODE"))
            taker.start()

    try:
        asked = {**reclaiming(url), **as_maid(cluster, url), "vacuum": "plain", "lock_timeout": 60}
        outcome = carry_out("vacuum", asked, paced(hold_the_table))
    finally:
        taker.join()
        holder.close()
        cluster.execute("DROP OWNED BY maid", name)
        cluster.execute("DROP ROLE maid")
    assert isinstance(outcome.error, StepFailed)
    assert "skipping" in str(table(outcome).error)
    assert (table(outcome).reclaim, outcome.report.status) == ("none", "failed")
    if newest:
        assert (table(outcome, "events").reclaim, table(outcome, "events").error) == ("plain", None)


def wide_and_narrow(url: str, cluster: Postgres) -> None:
    """Fill the large tables with rows of every width, many of them old, and leave pages empty."""
    name = name_of(url)
    clear(engine_for(url))
    cluster.execute(
        "INSERT INTO log (id, name, level, message, timestamp) "
        "SELECT gen_random_uuid(), 'l', 20, repeat(md5(n::text), 1 + n % 61), "
        "now() - (n % 4 > 0)::int * interval '90 days' FROM generate_series(1, 12000) n",
        name,
    )
    cluster.execute(EVENTS.format(rows=3000), name)
    cluster.execute(
        "UPDATE events SET occurred = now(), payload = jsonb_build_object('a', "
        "(SELECT string_agg(md5(random()::text || n), '') FROM generate_series(1, 50) n)) "
        "WHERE random() < 0.5",
        name,
    )
    cluster.execute(
        "INSERT INTO flow_run (id, flow_id, name, state_type, end_time, parameters, "
        "empirical_policy, tags) "
        "SELECT gen_random_uuid(), (SELECT id FROM flow LIMIT 1), repeat('r', 1700), 'COMPLETED', "
        "now(), '{}', '{}', '[]' FROM generate_series(1, 3000)",
        name,
    )
    cluster.execute("DELETE FROM flow_run WHERE random() < 0.6", name)


@pytest.mark.parametrize("mode", ["auto", "full", "rewrite"])
@pytest.mark.parametrize("measured", ["estimated", "pgstattuple", "fillfactor"])
def test_with_both_thresholds_0_the_second_run_rewrites_nothing(
    database: str, cluster: Postgres, mode: str, measured: str
) -> None:
    wide_and_narrow(database, cluster)
    if measured == "pgstattuple":
        cluster.execute("CREATE EXTENSION pgstattuple", name_of(database))
    if measured == "fillfactor":
        for reserved in ("log", "flow_run"):
            cluster.execute(f"ALTER TABLE {reserved} SET (fillfactor = 60)", name_of(database))
    # Else a slow machine compacts where a quick one does not.
    asked = reclaiming(database, vacuum=mode, vacuum_min_bytes=0, vacuum_min_percent=0, max_lock=60)
    purged = run_step("purge", asked)
    first = run_step("vacuum", {**asked, "report": purged.report.as_json()})
    assert first.changed
    way = "full" if mode == "full" else "rewrite"
    assert table(first).reclaim == way
    assert first.answers["bytes_given_back"] > 1_000_000
    if mode != "rewrite":
        assert table(first, "flow_run").reclaim == "full"
    purged = run_step("purge", asked)
    again = run_step("vacuum", {**asked, "report": purged.report.as_json()})
    done = {t.name: t.reclaim_why for t in again.report.tables if t.reclaim != "plain"}
    assert (done, again.changed) == ({}, False)


@pytest.mark.parametrize("mode", ["auto", "full"])
def test_a_file_with_a_free_page_or_two_is_not_rewritten_whatever_the_thresholds(
    sqlite_database: str, mode: str
) -> None:
    url = with_old_logs(sqlite_database)
    asked = reclaiming(url, vacuum=mode, vacuum_min_bytes=0, vacuum_min_percent=0)
    run_step("purge", asked)
    assert run_step("vacuum", asked).changed
    assert not run_step("vacuum", asked).changed
    engine = engine_for(url)
    with engine.begin() as connection:
        # A value of two pages comes and goes, as the proof of the same server may.
        connection.exec_driver_sql(
            "UPDATE log SET message = hex(zeroblob(4000)) WHERE rowid = 40000"
        )
        connection.exec_driver_sql("UPDATE log SET message = 'm' WHERE rowid = 40000")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA freelist_count").scalar_one() > 0
    engine.dispose()
    assert not run_step("vacuum", asked).changed
