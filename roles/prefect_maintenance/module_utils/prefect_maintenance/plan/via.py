"""Which way flow runs are deleted: through the API as long as that fits its budget, else by SQL.

A pure function of what goes and what the API can do. The API guards only runs with an end time
and without task runs or subflows; everything else goes by SQL whatever was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..units import count
from .estimate import of_calls

NO_GUARD = "the API has no guard for these: it would delete one that is in use"
OLD_SERVER = "the API has no guard for flow runs before Prefect 3.6.16"
_NO_API = "there is no api_url"
_NO_RUNS = "no flow runs go, and the API has no guard for task runs and artifacts"
_NO_SINGLES = (
    "the API guards runs with an end time and without task runs or subflows, and none of these is "
    "one"
)


@dataclass(frozen=True)
class Via:
    """How the flow runs of a plan are deleted.

    Attributes:
        way: "api", "sql", or "mixed" when the API can guard only some of them.
        why: the reason, for people.
        through_api: flow runs that go through the API; the others go by SQL.
        estimated_seconds: that the API would take for what it can guard.
        budget: seconds that it may take when the way is chosen by them.
    """

    way: str
    why: str
    through_api: int = 0
    estimated_seconds: float = 0.0
    budget: int = 0


def choose_via(
    asked: str, *, runs: int, singles: int, budget: int, given: bool, guarded: bool
) -> Via:
    """Choose how flow runs are deleted.

    Args:
        asked: "auto", "api" or "sql".
        runs: flow runs that go.
        singles: those of them that the API can guard.
        budget: seconds that the API may take with "auto".
        given: there is an API.
        guarded: its server is new enough for a deletion with a guard.
    """
    seconds = round(of_calls(singles).seconds, 1) if given and guarded else 0.0
    if asked == "sql":
        return Via("sql", "run_delete_via is sql", budget=budget)
    for there, why in (
        (runs, _NO_RUNS),
        (given, _NO_API),
        (guarded, OLD_SERVER),
        (singles, _NO_SINGLES),
    ):
        if not there:
            return Via("sql", why, budget=budget)
    told = f"about {seconds:,.1f} s through the API"
    if asked == "auto" and (seconds > budget or not budget):
        return Via("sql", f"{told}, more than api_budget ({budget} s)", 0, seconds, budget)
    why = "run_delete_via is api"
    if asked == "auto":
        why = f"{told}, within api_budget ({budget} s)"
    if singles == runs:
        return Via("api", why, singles, seconds, budget)
    others = (
        f"{count(runs - singles)} by SQL: the API guards only runs with an end time and without "
        "task runs or subflows"
    )
    return Via("mixed", f"{why}; {others}", singles, seconds, budget)
