"""Rules for flow runs and holds: what changes after the plan is decided by what is true then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import at_first_batch, request, run_step, with_defaults
from prefect_maintenance.execute.ways import BySql
from ruled_site import LOG, OLD, YOUNG, Site, left
from world import NOW, dump


@pytest.fixture
def site(engine: sa.Engine) -> Site:
    return Site(engine)


SOON = {"tags": ["soon"], "keep": {"days": 1}}
LATER = {"tags": ["later"], "keep": {"days": 30}}
NEWEST = {"tags": ["newest"], "keep": {"last": 1}}
Change = Callable[[Site, str], None]


def set_state(site: Site, run: str, state: str) -> None:
    sql = "UPDATE flow_run SET state_type = :state, end_time = :at WHERE id = :id"
    site.write(sql, id=run, state=state, at=datetime.now(NOW.tzinfo))


def hold_deployment(site: Site, run: str) -> None:
    row = dump(site.engine, ["flow_run"])["flow_run"][run]
    site.tag("deployment", str(row["deployment_id"]), '["keep"]')


@pytest.mark.parametrize(
    ("rules", "tags", "change"),
    [
        ([], "[]", lambda site, run: site.tag("flow_run", run, '["hold:mine"]')),
        ([], "[]", hold_deployment),
        ([SOON], '["soon"]', lambda site, run: site.tag("flow_run", run, '["soon", "keep"]')),
        ([SOON], '["soon"]', lambda site, run: site.tag("flow_run", run, "[]")),
        (
            [SOON, LATER],
            '["later"]',
            lambda site, run: site.tag("flow_run", run, '["soon"]'),
        ),
        ([NEWEST], '["newest"]', lambda site, run: set_state(site, run, "COMPLETED")),
    ],
    ids=[
        "hold",
        "hold of deployment",
        "hold and rule",
        "another rule",
        "shorter rule",
        "a later success",
    ],
)
def test_a_run_that_changes_after_the_plan_is_decided_by_what_is_true_then(
    site: Site,
    rules: list[dict[str, Any]],
    tags: str,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_defaults(monkeypatch, BySql, runs_a_batch=1)
    flow = site.flow("etl")
    runs = []
    for number in range(4):
        # Each of its own, so that a hold of one is no hold of another.
        deployment = None if rules else site.deployment(flow, f"d{number}")
        at = OLD + timedelta(hours=number)
        runs.append(site.run(flow, deployment=deployment, tags=tags, at=at, state="FAILED"))
    asked = request(site.engine, rules=rules, run_delete_via="sql")
    with at_first_batch("flow_run", lambda: change(site, runs[1])) as pace:
        run_step("delete", asked, pace=pace)
    assert left(site) == {runs[1], *([runs[3]] if rules == [NEWEST] else [])}


@pytest.mark.parametrize("strategy", ["delete", "rewrite"])
@pytest.mark.parametrize("change", ["run", "deployment"])
def test_logs_of_a_run_that_gains_a_hold_while_logs_are_purged_stay(
    site: Site, strategy: str, change: str
) -> None:
    flow = site.flow("etl")
    deployment = site.deployment(flow, "nightly")
    run, other = site.run(flow, deployment=deployment, at=YOUNG), site.run(flow, at=YOUNG)
    kept = {site.write(LOG, run=run, at=OLD + timedelta(hours=n)) for n in range(5)}
    old = [OLD - timedelta(hours=number) for number in range(30)]
    # Where most logs stay, those that go are deleted from the oldest on.
    site.write_many(LOG, [{"run": other, "at": at} for at in (*old, *[YOUNG] * 300)])
    kept |= {
        log for log, row in dump(site.engine, ["log"])["log"].items() if row["timestamp"] > OLD
    }

    def hold() -> None:
        row = run if change == "run" else deployment
        site.tag("flow_run" if change == "run" else "deployment", row, '["keep"]')

    asked = request(site.engine, purge_strategy=strategy, batch_size=10)
    with at_first_batch("log", hold) as pace:
        run_step("purge", asked, pace=pace)
    assert left(site, "log") == kept
