"""A window that closes in the middle of a step: no failure, nothing lost, the next run goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from maintenance import engine_for, name_of, request
from prefect_maintenance.events import COUNTED, MEASURED, Event, Progress
from prefect_maintenance.pace.windows import Windows
from prefect_maintenance.request.windows import parse_windows
from prefect_maintenance.run import session
from prefect_maintenance.run.line import Answer, carry_out
from rewriting import ROWS, debris, ids
from world import dump

from lab.postgres import Postgres

NIGHTLY = parse_windows({"windows": [{"cron": "0 22 * * *", "duration": "4h"}]})
INSIDE = datetime(2026, 11, 26, 23, tzinfo=UTC)
OUTSIDE = INSIDE + timedelta(hours=6)
SAID = "goes on in the next window, which opens 2026-11-27 22:00 UTC"

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;
CREATE TRIGGER refuse BEFORE DELETE ON log FOR EACH ROW EXECUTE FUNCTION refuse()
"""


class Night:
    """Steps of a run whose clock jumps out of the window at the first batch of a table."""

    def __init__(self, url: str, **asked: Any) -> None:
        self.asked = {"db_url": url, "run_delete_via": "sql", "batch_size": 50} | asked
        self.at = INSIDE

    def step(self, name: str, *, closes_at: str = "", check: bool = False, **more: Any) -> Answer:
        def listen(event: Event) -> None:
            counts = isinstance(event, Progress) and event.unit in (COUNTED, MEASURED)
            if isinstance(event, Progress) and event.table == closes_at and not counts:
                self.at = OUTSIDE

        governor = Windows(NIGHTLY, lambda: self.at)
        asked = {**self.asked, **more}
        return carry_out(name, asked, check=check, listener=listen, governors=[governor])


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("way", ["delete", "rewrite"])
def test_a_window_that_closes_in_a_purge_ends_it_without_a_failure_and_the_next_run_goes_on(
    cluster: Postgres, database: str, young: set[str], way: str
) -> None:
    night = Night(database, purge_strategy=way)
    done = night.step("purge", closes_at="log")
    left = ids(cluster, database)
    assert night.at == OUTSIDE
    assert done.failure is None
    assert done.report["deleted"]["log"] == ROWS - len(left)
    assert young <= set(left)
    # A copy that is not whole gives nothing back; what batches deleted is gone.
    assert len(left) == ROWS if way == "rewrite" else len(young) < len(left) < ROWS
    assert done.changed is (way == "delete")
    assert (done.report["status"], done.report["errors"]) == ("partial", [])
    assert done.report["goes_on"] == "2026-11-27T22:00+00:00"
    assert done.warnings == (f"purge: no window was open while at log; the next run {SAID}",)
    assert "the next run in a window deletes them" in done.summary[1]
    assert done.report["verdict"]["needs"] == []
    assert debris(cluster, database) == []
    night.at = INSIDE
    again = night.step("purge")
    assert (again.report["status"], again.report["goes_on"]) == ("ok", "")
    assert set(ids(cluster, database)) == young
    assert again.report["deleted"]["log"] == len(left) - len(young)


@pytest.mark.usefixtures("young")
def test_outside_of_a_window_no_step_begins_and_each_says_why_and_a_check_says_what_would_go(
    database: str,
) -> None:
    night, engine = Night(database), engine_for(database)
    night.at, before = OUTSIDE, dump(engine)
    report: dict[str, Any] = {"host": "a"}
    for step in ("purge", "delete", "vacuum"):
        done = night.step(step, report=report)
        report = done.report
        assert (done.changed, done.failure) == (False, None)
        assert done.warnings == (
            f"{step}: no window was open while at the beginning; the next run {SAID}",
        )
    assert (report["status"], report["steps"], report["errors"]) == ("partial", [], [])
    assert dump(engine) == before
    checked = night.step("purge", check=True)
    assert (checked.report["status"], checked.report["goes_on"]) == ("ok", "")
    assert 0 < checked.report["deleted"]["log"] < ROWS
    engine.dispose()


def test_a_table_that_failed_before_the_window_closed_is_a_failure(
    cluster: Postgres, filled: str
) -> None:
    cluster.execute(REFUSE, name_of(filled))
    night = Night(filled, **request(filled, purge_strategy="delete"))
    done = night.step("purge", closes_at="events")
    assert night.at == OUTSIDE
    assert done.failure is not None
    assert done.failure.startswith("log: ")
    assert done.report["errors"] == [f"purge: {done.failure}"]
    assert done.report["goes_on"] == ""


def test_a_copy_that_would_not_end_in_its_window_is_not_begun(
    database: str, young: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "seconds_left", lambda *_: 0.001)
    night = Night(database, purge_strategy="rewrite", vacuum="full", vacuum_min_bytes=0)
    done = night.step("purge")
    assert "and its window leaves 0 s" in "".join(done.warnings)
    assert done.report["deleted"]["log"] == ROWS - len(young)
    done = night.step("vacuum", report=done.report)
    assert done.failure is None, done.fault
    log = next(table for table in done.report["tables"] if table["name"] == "log")
    assert (log["strategy"].split()[0], log["reclaim"]) == ("delete", "plain")
    assert "and its window leaves 0 s" in log["reclaim_why"]


@pytest.mark.usefixtures("young")
def test_a_window_that_closes_in_the_reclaim_leaves_the_other_tables_for_the_next_run(
    database: str,
) -> None:
    night = Night(database, vacuum="plain")
    done = night.step("vacuum", closes_at="events")
    assert night.at == OUTSIDE
    assert (done.failure, done.report["status"]) == (None, "partial")
    assert done.warnings == (f"vacuum: no window was open while at events; the next run {SAID}",)
    reclaimed = {table["name"]: table["reclaim"] for table in done.report["tables"]}
    assert {"plain", "none"} == set(reclaimed.values())
