"""Which way flow runs go is a pure function of what goes and what the API can do."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from prefect_maintenance.plan.estimate import of_calls
from prefect_maintenance.plan.via import OLD_SERVER, Via, choose_via

choose = partial(choose_via, runs=100, singles=100, budget=600, given=True, guarded=True)
SECONDS = round(of_calls(100).seconds, 1)


def test_what_fits_the_budget_goes_through_the_api() -> None:
    via = choose("auto")
    told = f"about {SECONDS:,.1f} s through the API, within api_budget (600 s)"
    assert via == Via("api", told, 100, SECONDS, 600)


def test_what_does_not_fit_the_budget_goes_by_sql_with_the_estimate_as_the_reason() -> None:
    runs = 10**6
    via = choose("auto", runs=runs, singles=runs)
    assert (via.way, via.through_api) == ("sql", 0)
    assert via.estimated_seconds == round(of_calls(runs).seconds, 1)
    assert "more than api_budget (600 s)" in via.why


def test_a_budget_of_nothing_has_the_api_delete_nothing() -> None:
    assert choose("auto", runs=1, singles=1, budget=0).through_api == 0


def test_who_asks_for_the_api_gets_it_whatever_it_takes() -> None:
    runs = 10**6
    via = choose("api", runs=runs, singles=runs, budget=1)
    assert (via.way, via.through_api, via.why) == ("api", runs, "run_delete_via is api")


@pytest.mark.parametrize("asked", ["auto", "api"])
def test_what_the_api_cannot_guard_goes_by_sql(asked: str) -> None:
    via = choose(asked, singles=60)
    assert (via.way, via.through_api) == ("mixed", 60)
    assert "40 by SQL: the API guards only" in via.why


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"given": False}, "there is no api_url"),
        ({"guarded": False}, OLD_SERVER),
        ({"runs": 0, "singles": 0}, "no flow runs go"),
        ({"singles": 0}, "none of these is one"),
    ],
)
@pytest.mark.parametrize("asked", ["auto", "api"])
def test_where_the_api_can_do_nothing_all_goes_by_sql(
    asked: str, known: dict[str, Any], why: str
) -> None:
    via = choose(asked, **known)
    assert (via.way, via.through_api) == ("sql", 0)
    assert why in via.why


def test_who_asks_for_sql_gets_it() -> None:
    assert choose("sql") == Via("sql", "run_delete_via is sql", budget=600)
