"""Space comes back where it pays, once, and only where there is room for the copy."""

from __future__ import annotations

from typing import Any

import pytest
from maintenance import name_of, run_step
from old_logs import ROWS, reclaiming, with_old_logs
from prefect_maintenance.errors import StepFailed, Unsupported
from prefect_maintenance.execute import repack
from prefect_maintenance.measure import disk_space

from lab.postgres import Postgres


def way(url: str) -> str:
    """Say how space comes back where nothing is in the way."""
    return "full" if "sqlite" in url else "rewrite"


def test_a_check_foretells_the_rewrite_that_follows_and_the_next_run_does_nothing(
    url: str,
) -> None:
    checked = run_step("purge", reclaiming(url), check=True)
    foretold = run_step("vacuum", reclaiming(url, report=checked.report.as_json()), check=True)
    done = run_step("purge", reclaiming(url))
    assert done.report.deleted["log"] == ROWS * 9 // 10
    reclaimed = run_step("vacuum", reclaiming(url, report=done.report.as_json()))

    def chosen(report: Any) -> str:
        if "sqlite" in url:
            return str(report.database["reclaim"])
        return str(next(t.reclaim for t in report.tables if t.name == "log"))

    assert (chosen(foretold.report), chosen(reclaimed.report)) == (way(url), way(url))
    assert reclaimed.changed
    assert reclaimed.answers["bytes_given_back"] > 1_000_000
    assert any("rewritten" in line for line in reclaimed.summary)
    log = next(t for t in reclaimed.report.tables if t.name == "log")
    assert log.bytes_after is not None
    assert log.bytes_after_delete is not None
    if "sqlite" not in url:  # there, pages are free as soon as their rows are gone
        assert log.bytes_after < log.bytes_after_delete / 4
    assert log.rows_after == ROWS // 10

    again = run_step("vacuum", reclaiming(url))
    assert not again.changed
    assert chosen(again.report) == "plain"


def test_no_rewrite_begins_without_room_for_the_copy(
    sqlite_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = with_old_logs(sqlite_database)
    run_step("purge", reclaiming(url))
    # Made greater than any disk; a disk that is truly full has a test of its own.
    monkeypatch.setattr(disk_space, "COPIES", 1e9)
    with pytest.raises(StepFailed, match="no room for the copy"):
        run_step("vacuum", reclaiming(url, vacuum="full"))


@pytest.mark.parametrize("mode", ["none", "plain"])
def test_nothing_is_rewritten_unless_that_is_wished(url: str, mode: str) -> None:
    run_step("purge", reclaiming(url))
    outcome = run_step("vacuum", reclaiming(url, vacuum=mode))
    assert not outcome.changed
    assert not any("rewritten" in line for line in outcome.summary)


def test_what_the_purge_rewrites_is_not_rewritten_again(database: str) -> None:
    url = with_old_logs(database)
    asked = reclaiming(url, purge_strategy="auto")
    checked = run_step("purge", asked, check=True)
    foretold = run_step("vacuum", {**asked, "report": checked.report.as_json()}, check=True)
    done = run_step("purge", asked)
    reclaimed = run_step("vacuum", {**asked, "report": done.report.as_json()})
    for outcome in (foretold, reclaimed):
        log = next(t for t in outcome.report.tables if t.name == "log")
        assert (log.strategy.split()[0], log.reclaim) == ("rewrite", "plain")
    assert not reclaimed.changed


def test_a_table_that_others_refer_to_is_rewritten_only_as_the_mode_allows(
    database: str, cluster: Postgres
) -> None:
    url = with_old_logs(database)
    cluster.execute("CREATE TABLE other (log_id uuid REFERENCES log (id))", name_of(url))
    run_step("purge", reclaiming(url))
    spared = run_step("vacuum", reclaiming(url, vacuum="rewrite"))
    log = next(t for t in spared.report.tables if t.name == "log")
    assert log.reclaim == "plain"
    # What may be built anew beside everybody's work is.
    assert {one.problem for one in spared.report.indexes if one.done} == {"bloated"}
    assert "a foreign key leads to or from it" in log.reclaim_why
    with pytest.raises(Unsupported, match="pg_repack in this database"):
        run_step("vacuum", reclaiming(url, vacuum="repack"))
    done = run_step("vacuum", reclaiming(url))
    assert next(t for t in done.report.tables if t.name == "log").reclaim == "full"


def test_a_newer_postgresql_repacks_by_itself() -> None:
    # PostgreSQL 19 is not to be had yet; only the statement is looked at.
    assert repack.own_command(190000, "flow_run") == "REPACK (CONCURRENTLY) flow_run"
    assert repack.own_command(180006, "flow_run") is None
