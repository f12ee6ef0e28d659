"""Settings of autovacuum are suggested, and set on the tables only when that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from maintenance import name_of, run_step
from old_logs import reclaiming, with_old_logs
from prefect_maintenance.measure import autovacuum
from prefect_maintenance.report.report import Report

from lab.postgres import PASSWORD, Postgres

SCALE = "autovacuum_vacuum_scale_factor"
OPTIONS = "SELECT array_to_string(reloptions, ' ') FROM pg_class WHERE relname = 'log'"


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autovacuum, "_SHARES", ((20_000, {SCALE: 0.02}),))


@pytest.fixture
def logs(database: str) -> str:
    """A database of whose tables only the log is large; returns its name."""
    return name_of(with_old_logs(database))


def asked(database: str, **more: Any) -> dict[str, Any]:
    return reclaiming(database, **{"vacuum": "plain", "tune_autovacuum": True, **more})


def remedies(report: Report) -> set[str]:
    return {need["do"] for need in report.as_json()["verdict"]["needs"]}


def test_what_is_suggested_is_set_once_as_foretold_and_only_when_asked_for(
    database: str, logs: str, cluster: Postgres
) -> None:
    [seen] = run_step("bloat_info", asked(database)).report.autovacuum
    assert (seen.table, seen.setting, seen.now, seen.suggested) == ("log", SCALE, 0.2, 0.02)
    untouched = run_step("vacuum", asked(database, tune_autovacuum=False))
    assert (untouched.changed, untouched.report.autovacuum) == (False, (seen,))
    assert any(f"log: {SCALE} 0.02 instead of 0.2" in line for line in untouched.summary)
    assert run_step("vacuum", asked(database), check=True).changed
    assert cluster.execute(OPTIONS, logs) == [(None,)]

    done = run_step("vacuum", asked(database))
    assert (done.changed, [one.set for one in done.report.autovacuum]) == (True, [True])
    assert cluster.execute(OPTIONS, logs) == [(f"{SCALE}=0.02",)]
    for check in (True, False):
        again = run_step("vacuum", asked(database), check=check)
        assert (again.changed, again.report.autovacuum) == (False, ())


def test_autovacuum_that_is_off_for_a_table_needs_a_person_unless_it_is_set(
    database: str, logs: str, cluster: Postgres
) -> None:
    cluster.execute(f"ALTER TABLE log SET (autovacuum_enabled = off, {SCALE} = 0.001)", logs)
    report = run_step("bloat_info", asked(database)).report
    need = {"ALTER TABLE log SET (autovacuum_enabled = on)"}
    assert remedies(report) == need
    done = run_step("vacuum", asked(database, report=report.as_json())).report
    assert not remedies(done) & need
    # What is stricter already is left as it is.
    assert cluster.execute(OPTIONS, logs) == [(f"{SCALE}=0.001 autovacuum_enabled=on",)]


@pytest.fixture
def maintainer(database: str, cluster: Postgres) -> Iterator[str]:
    """A role that may vacuum tables that it does not own; returns its URL."""
    name = name_of(database)
    cluster.execute("CREATE ROLE maintainer LOGIN PASSWORD 'maintainer'")
    cluster.execute("GRANT pg_maintain, pg_read_all_data, pg_write_all_data TO maintainer")
    yield cluster.url(name, "maintainer", "maintainer")
    cluster.execute("DROP ROLE maintainer")


def test_what_only_the_owner_may_set_is_told_with_its_statement(
    database: str, logs: str, maintainer: str, cluster: Postgres
) -> None:
    for check in (True, False):
        outcome = run_step("vacuum", asked(maintainer), check=check)
        assert not outcome.changed
        [told] = [text for text in outcome.report.warnings if SCALE in text]
        assert told.endswith(f"as its owner: ALTER TABLE log SET ({SCALE} = 0.02)")
    assert cluster.execute(OPTIONS, logs) == [(None,)]


def test_a_table_that_somebody_holds_is_told_and_the_step_goes_on(
    database: str, logs: str, cluster: Postgres
) -> None:
    holder = psycopg2.connect(
        host="127.0.0.1", port=cluster.port, user="postgres", password=PASSWORD, dbname=logs
    )
    try:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE log IN SHARE UPDATE EXCLUSIVE MODE")
        outcome = run_step("vacuum", asked(database, vacuum="none", lock_timeout=0.1))
    finally:
        holder.close()
    assert not outcome.changed
    assert any(f"{SCALE} of log was not set" in text for text in outcome.report.warnings)
