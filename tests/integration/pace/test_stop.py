"""A stop or a used-up budget ends a step between two batches, and what was done is done."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import (
    at_first_batch,
    engine_for,
    request,
    run_step,
)
from paces import paced
from prefect_maintenance.errors import (
    Stopped,
)
from prefect_maintenance.pace.budget import Budget
from prefect_maintenance.pace.signals import Signals
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from world import dump

SMALL_BATCHES: dict[str, Any] = {"batch_size": 5, "purge_strategy": "delete"}


def test_a_stop_between_two_batches_keeps_what_was_done(filled: str) -> None:
    before = dump(engine_for(filled))
    settings = Settings.parse(request(filled, **SMALL_BATCHES), check=False)
    signals = Signals()
    with at_first_batch("log", lambda: signals.note("SIGTERM"), signals) as pace:
        outcome = STEPS["purge"](settings, pace)
    assert isinstance(outcome.error, Stopped)
    assert "SIGTERM" in str(outcome.error)
    assert outcome.report.status == "partial"
    left = dump(engine_for(filled))
    assert outcome.report.deleted["log"] == len(before["log"]) - len(left["log"]) > 0
    assert run_step("purge", request(filled)).changed


def test_a_time_budget_ends_the_step_between_two_batches(filled: str) -> None:
    budget = Budget(0)

    def let_an_hour_pass() -> None:
        budget.seconds = 3600
        budget._began -= 3600

    asked = request(filled, **SMALL_BATCHES)
    due = run_step("purge", asked, check=True).report.deleted["log"]
    before = dump(engine_for(filled), ["log"])["log"]
    with (
        at_first_batch("log", let_an_hour_pass, budget) as pace,
        pytest.raises(Stopped, match="time budget of 3600 s was used up while at log"),
    ):
        run_step("purge", asked, pace=pace)
    assert 0 < len(before) - len(dump(engine_for(filled), ["log"])["log"]) < due


def test_the_pace_is_asked_between_any_two_batches(filled: str) -> None:
    happened: list[str] = []

    def note(_c: Any, cursor: Any, statement: str, *_: Any) -> None:
        table = re.match(r"DELETE FROM (log|events|event_resources)\b", statement.strip())
        if table and cursor.rowcount:
            happened.append(table[1])

    sa.event.listen(sa.Engine, "after_cursor_execute", note)
    try:
        run_step("purge", request(filled, **SMALL_BATCHES),
                 pace=paced(lambda _: happened.append("asked")))  # fmt: skip
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", note)
    batches = [n for n, what in enumerate(happened) if what != "asked"]
    assert len(batches) > 3
    assert all(happened[n + 1] == "asked" for n in batches)


@pytest.mark.parametrize("places", [0, 1], ids=["no place to wait for", "a place in the cluster"])
def test_a_time_budget_that_is_used_up_lets_no_step_begin(filled: str, places: int) -> None:
    before = dump(engine_for(filled))
    budget = Budget(1)
    budget._began -= 2
    with pytest.raises(Stopped, match="time budget of 1 s"):
        run_step("purge", request(filled, per_cluster=places), pace=paced(None, budget))
    assert dump(engine_for(filled)) == before
