"""Rules for flow runs and holds: what each of them keeps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import request, run_step
from prefect_maintenance.report.report import Report
from prefect_maintenance.run.outcome import Outcome
from ruled_site import ARTIFACT, LOG, OLD, TASK, YOUNG, Site, left


@pytest.fixture
def site(engine: sa.Engine) -> Site:
    return Site(engine)


def purged(site: Site, *rules: dict[str, Any], **more: Any) -> Outcome:
    """Check and delete; the check must have said what went."""
    asked = request(site.engine, rules=list(rules), run_delete_via="sql", **more)
    foretold = run_step("delete", asked, check=True).report
    outcome = run_step("delete", asked)
    assert gone(foretold) == gone(outcome.report)
    return outcome


def gone(report: Report) -> dict[str, int]:
    return {table: rows for table, rows in report.deleted.items() if rows}


def test_the_first_rule_that_matches_decides(site: Site) -> None:
    flow = site.flow("etl")
    failed, young = site.run(flow, state="FAILED"), site.run(flow, at=YOUNG)
    site.run(flow)
    purged(
        site,
        {"states": ["FAILED", "CRASHED"], "keep": {"days": 90}},
        {"flows": ["etl"], "keep": {"days": 1}},
        {"flows": ["*"], "keep": "forever"},
    )
    assert left(site) == {failed, young}


def test_a_rule_matches_by_names_and_leaves_out_what_fits_all_of_its_exceptions(
    site: Site,
) -> None:
    etl, other = site.flow("etl"), site.flow("Etl")
    nightly, weekly = site.deployment(etl, "nightly_1"), site.deployment(etl, "nightly_x1")
    kept = {
        site.run(etl, deployment=nightly),
        site.run(etl, queue=site.queue("gpu[1]")),
        site.run(etl, tags='["a%b", "x"]'),
    }
    others: tuple[dict[str, Any], ...] = (
        {"deployment": weekly},
        {"deployment": nightly, "state": "FAILED", "tags": '["x"]'},
        {"queue": site.queue("gpu1")},
        {"tags": '["acb"]'},
        {"tags": '"a%b"'},
        {"tags": '{"a%b": "a%b"}'},
        {"tags": "[null, 3]"},
    )
    for run in others:
        site.run(etl, **run)
    site.run(other, deployment=site.deployment(other, "nightly_1"))
    purged(
        site,
        {
            "deployments": ["etl/nightly__", "etl/nightly_?"],
            "except": {"states": ["FAILED"], "tags": ["x"]},
            "keep": "forever",
        },
        {"work_pools": ["gpu[1]"], "keep": "forever"},
        {"tags": ["a%*"], "keep": "forever"},
    )
    assert left(site) == kept


def test_the_last_are_counted_among_what_the_rule_decides_about(site: Site) -> None:
    flow = site.flow("etl")
    one, two = (site.deployment(flow, name) for name in ("one", "two"))

    def run(number: int, deployment: str | None = one, state: str = "COMPLETED") -> str:
        at = OLD + timedelta(hours=number)
        return site.run(flow, deployment=deployment, state=state, at=at)

    kept = {
        run(9, state="CANCELLED"),
        run(8),
        run(7, state="FAILED"),
        run(1, deployment=two),
        run(0, deployment=None),
    }
    for number, state in ((6, "COMPLETED"), (5, "FAILED"), (4, "CANCELLED")):
        run(number, state=state)
    # One that another rule decides about is none of them.
    for _ in range(2):
        site.run(flow, deployment=two, tags='["other"]', at=YOUNG)
    site.run(flow, deployment=one, state="RUNNING", at=YOUNG)
    others = left(site) - kept
    outcome = purged(
        site,
        {"tags": ["other"], "keep": {"days": 90}},
        {"flows": ["etl"], "keep": {"last": 1, "last_success": 1, "last_failure": 1}},
    )
    assert left(site) & (kept | others) >= kept
    assert outcome.report.deleted["flow_run"] == 3
    assert sorted(kept.why for kept in outcome.report.kept) == [
        "kept by rule 'rule 2', among the last 1",
        "kept by rule 'rule 2', among the last 1 that completed",
        "kept by rule 'rule 2', among the last 1 that failed or crashed",
    ]
    # The run that is cancelled is not of the policy that _states names for all, and goes all the
    # same: a rule without states speaks for every terminal one.
    counted = {one.name: (one.rows, one.kept) for one in outcome.report.plan.rules}
    assert counted == {"rule 1": (0, 2), "rule 2": (3, 5), "the general policy": (0, 0)}


def test_a_tree_stays_whole_for_one_run_that_a_rule_keeps(site: Site) -> None:
    flow, kept = site.flow("etl"), site.flow("kept")
    parent = site.run(flow)
    child = site.run(kept, parent=site.write(TASK, run=parent, at=OLD))
    site.run(flow)
    purged(site, {"flows": ["kept"], "keep": "forever"}, {"flows": ["*"], "keep": {"days": 1}})
    assert left(site) == {parent, child}


def test_a_hold_keeps_a_run_with_all_that_belongs_to_it(site: Site) -> None:
    flow = site.flow("etl")
    deployment = site.deployment(flow, "held", tags='["hold:audit"]')
    held = {
        site.run(flow, tags='["x", "keep"]'),
        site.run(flow, deployment=deployment),
        site.run(flow, tags='["keep-until:2026-06-30"]'),
        site.run(flow, tags='["keep-until:soon"]'),
    }
    free = {
        site.run(flow, tags='["keep-until:2026-06-29", "keeps"]'),
        site.run(flow, deployment=site.deployment(flow, "free", tags='["keep-until:2020-01-01"]')),
    }
    rows = {
        table: {site.write(sql, run=run, at=OLD) for run in held}
        for table, sql in (("task_run", TASK), ("log", LOG), ("artifact", ARTIFACT))
    }
    for run in free:
        for sql in (TASK, LOG, ARTIFACT):
            site.write(sql, run=run, at=OLD)
    asked = request(site.engine, purge_strategy="delete")
    run_step("purge", asked)
    outcome = purged(site, {"flows": ["*"], "keep": {"days": 1}})
    assert left(site) == held
    assert {table: left(site, table) for table in rows} == rows
    assert {(kept.why, kept.rows) for kept in outcome.report.kept if kept.what == "flow_run"} == {
        ("held by the tag keep", 1),
        ("held by the tag hold:audit", 1),
        ("held by the tag keep-until:2026-06-30", 1),
        ("held by the tag keep-until:soon", 1),
    }


def test_what_is_due_agrees_with_the_rules_and_writes_nothing(site: Site) -> None:
    flow = site.flow("etl")
    site.run(flow, tags='["keep"]', at=OLD - timedelta(days=3))
    site.run(flow, state="FAILED", at=OLD - timedelta(days=2))
    due = site.run(flow, at=OLD - timedelta(days=1))
    site.run(flow, at=OLD)
    rules = [
        {"states": ["FAILED"], "keep": "forever"},
        {"flows": ["etl"], "keep": {"last": 1}},
    ]
    asked = request(site.engine, rules=rules)
    found = run_step("bloat_info", asked).report.table("flow_run").oldest_due
    assert found == (OLD - timedelta(days=1)).isoformat().replace("+00:00", "Z")
    outcome = run_step("delete", {**asked, "run_delete_via": "sql"})
    assert due not in left(site)
    assert outcome.report.deleted["flow_run"] == 1
    assert run_step("bloat_info", asked).report.table("flow_run").oldest_due is None
