"""Nothing keeps everybody out of a table for longer than max_lock, unless asked for by name."""

from __future__ import annotations

from typing import Any

import pytest
from maintenance import name_of, run_step, table
from old_logs import ROWS, reclaiming, with_old_logs
from prefect_maintenance.execute import copy, swap
from prefect_maintenance.plan import choices
from prefect_maintenance.plan.estimate import Estimate
from rewriting import debris, ids, purge, session, strategy

from lab.postgres import Postgres

KEPT = ROWS // 10
KEY = "a foreign key leads to or from it"


@pytest.fixture
def bloated(cluster: Postgres, database: str) -> str:
    """A database whose logs are mostly holes, and which another table refers to."""
    url = with_old_logs(database)
    cluster.execute("CREATE TABLE other (log_id uuid REFERENCES log (id))", name_of(url))
    run_step("purge", reclaiming(url))
    return url


def test_what_would_lock_a_table_for_too_long_is_left_and_told_and_done_when_asked_for_by_name(
    bloated: str,
) -> None:
    asked = reclaiming(bloated, max_lock=0.001)
    done, checked = (run_step("vacuum", asked, check=check) for check in (False, True))
    for outcome in (done, checked):
        log = table(outcome)
        assert log.reclaim == "plain"
        assert KEY in log.reclaim_why
        assert "max_lock is 0.001 s" in log.reclaim_why
        assert any(warning.startswith("log: ") for warning in outcome.report.warnings)
    ways = next(choice.ways for choice in checked.report.plan.reclaim if choice.table == "log")
    assert set(ways) == {"rewrite", "full", "compact"}
    shown = "\n".join(checked.summary)
    for way, cost in ways.items():
        assert cost.why_not
        assert f"      {way:<9}about" in shown
        assert cost.why_not in shown
    named = run_step("vacuum", {**asked, "vacuum": "full"})
    log = table(named)
    assert (log.reclaim, log.rows_after) == ("full", KEPT)
    assert "asked for by name, so it may keep everybody out for about" in log.reclaim_why
    assert log.lock_ms_max > 1


def test_a_vacuum_full_that_locks_for_longer_than_estimated_is_ended_and_the_table_compacted(
    bloated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for way in ("of_full", "of_compaction"):
        monkeypatch.setattr(choices, way, lambda *_: Estimate(seconds=0.1))
    # A second is allowed, and more than nobody notices is not needed.
    monkeypatch.setattr(choices, "UNNOTICED", 0.001)
    done = run_step("vacuum", reclaiming(bloated))
    log = table(done)
    assert (log.reclaim, done.changed, log.rows_after) == ("compact", True, KEPT)
    assert "for longer than 0.001 s" in log.reclaim_why
    assert "but it could not be written anew" in log.strategy_why
    assert "log is compacted instead" in " ".join(done.report.warnings)
    assert (log.bytes_after or 0) < (log.bytes_after_delete or 0) / 2
    # The session bounds nothing else.
    again = run_step("vacuum", reclaiming(bloated, max_lock=0.001))
    assert (table(again).reclaim, again.changed) == ("plain", False)


def test_a_swap_that_locks_for_too_long_is_taken_back_and_the_rows_go_by_deletes(
    cluster: Postgres, database: str, young: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = copy.settle

    def held(work: Any, database: Any) -> Any:
        # Somebody has what the swap needs under its lock, and keeps it for longer.
        database.run("SET LOCAL lock_timeout = '20s'")
        database.run("SELECT pg_advisory_xact_lock(1414)")
        return really(work, database)

    monkeypatch.setattr(swap, "settle", held)
    with session(cluster, database) as cursor:
        cursor.execute("SELECT pg_advisory_lock(1414)")
        outcome = purge(database, max_lock=0.2)
        assert "the swap of log would have kept everybody out" in " ".join(outcome.report.warnings)
    assert strategy(outcome).startswith("delete")
    assert "but it could not be rewritten" in table(outcome).strategy_why
    assert sorted(ids(cluster, database)) == sorted(young)
    assert debris(cluster, database) == []
    monkeypatch.undo()
    assert run_step("purge", {"db_url": database}).report.deleted["log"] == 0
