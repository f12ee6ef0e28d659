"""Rules for flow runs and holds: what each of them keeps, and what is true when rows go."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import at_first_batch, request, run_step, with_defaults
from prefect_maintenance.execute.ways import BySql
from prefect_maintenance.report.report import Report
from prefect_maintenance.run.outcome import Outcome
from world import NOW, as_stored, dump

OLD, YOUNG = NOW - timedelta(days=60), NOW - timedelta(days=1)
_RUN = """
INSERT INTO flow_run (id, created, updated, flow_id, deployment_id, work_queue_id,
                      parent_task_run_id, name, state_type, state_timestamp, end_time, tags)
VALUES (:id, :at, :at, :flow, :deployment, :queue, :parent, 'r', :state, :at, :at, {tags})
"""
_TASK = """
INSERT INTO task_run (id, flow_run_id, name, task_key, dynamic_key, state_type, end_time)
VALUES (:id, :run, 't', 't', :id, 'COMPLETED', :at)
"""
_LOG = """
INSERT INTO log (id, name, level, message, flow_run_id, timestamp)
VALUES (:id, 'l', 20, 'm', :run, :at)
"""
_ARTIFACT = """
INSERT INTO artifact (id, type, flow_run_id, created) VALUES (:id, 'markdown', :run, :at)
"""


class Site:
    """Flows, deployments, work pools and runs, written by hand; a run is old and completed."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def write(self, sql: str, **values: Any) -> str:
        """Write a row, and return its id."""
        values = {"id": str(uuid.uuid4()), **values}
        stored = {name: as_stored(self.engine, value) for name, value in values.items()}
        with self.engine.begin() as connection:
            connection.execute(sa.text(sql), stored)
        return str(values["id"])

    def write_many(self, sql: str, rows: list[dict[str, Any]]) -> None:
        stored = [
            {"id": str(uuid.uuid4())}
            | {name: as_stored(self.engine, value) for name, value in row.items()}
            for row in rows
        ]
        with self.engine.begin() as connection:
            connection.execute(sa.text(sql), stored)

    def flow(self, name: str) -> str:
        name = f"{name}-{uuid.uuid4()}" if name == "any" else name
        with self.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM flow WHERE name = :name"), {"name": name})
        return self.write("INSERT INTO flow (id, name) VALUES (:id, :name)", name=name)

    def deployment(self, flow: str, name: str, tags: str = "[]") -> str:
        sql = (
            "INSERT INTO deployment (id, updated, flow_id, name, tags) "
            f"VALUES (:id, :at, :flow, :name, {self.json('tags')})"
        )
        return self.write(sql, flow=flow, name=name, tags=tags, at=OLD)

    def queue(self, pool: str) -> str:
        with self.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM work_pool WHERE name = :name"), {"name": pool})
        sql = (
            "INSERT INTO work_pool (id, name, type, base_job_template) "
            f"VALUES (:id, :name, 'process', {self.json('job')})"
        )
        made = self.write(sql, name=pool, job="{}")
        sql = "INSERT INTO work_queue (id, name, work_pool_id) VALUES (:id, 'default', :pool)"
        return self.write(sql, pool=made)

    def run(
        self,
        flow: str,
        *,
        deployment: str | None = None,
        queue: str | None = None,
        parent: str | None = None,
        state: str | None = "COMPLETED",
        at: datetime = OLD,
        tags: str = "[]",
    ) -> str:
        sql = _RUN.format(tags=self.json("tags"))
        told = {"deployment": deployment, "queue": queue, "parent": parent}
        return self.write(sql, flow=flow, state=state, at=at, tags=tags, **told)

    def tag(self, table: str, row: str, tags: str) -> None:
        """Give a row other tags, as Prefect does."""
        sql = f"UPDATE {table} SET tags = {self.json('tags')}, updated = :now WHERE id = :id"
        self.write(sql, id=row, tags=tags, now=datetime.now(NOW.tzinfo))

    def json(self, name: str) -> str:
        return f"CAST(:{name} AS jsonb)" if self.engine.dialect.name == "postgresql" else f":{name}"


@pytest.fixture
def site(engine: sa.Engine) -> Site:
    return Site(engine)


def left(site: Site, table: str = "flow_run") -> set[str]:
    return set(dump(site.engine, [table])[table])


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
    for run in (
        {"deployment": weekly},
        {"deployment": nightly, "state": "FAILED", "tags": '["x"]'},
        {"queue": site.queue("gpu1")},
        {"tags": '["acb"]'},
        {"tags": '"a%b"'},
        {"tags": '{"a%b": "a%b"}'},
        {"tags": "[null, 3]"},
    ):
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
    child = site.run(kept, parent=site.write(_TASK, run=parent, at=OLD))
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
        for table, sql in (("task_run", _TASK), ("log", _LOG), ("artifact", _ARTIFACT))
    }
    for run in free:
        for sql in (_TASK, _LOG, _ARTIFACT):
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


SOON = {"tags": ["soon"], "keep": {"days": 1}}
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
        ([NEWEST], '["newest"]', lambda site, run: set_state(site, run, "COMPLETED")),
    ],
    ids=["hold", "hold of deployment", "hold and rule", "another rule", "a later success"],
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
        deployment = site.deployment(flow, f"d{number if not rules else 0}-{uuid.uuid4()}")
        deployment = deployment if not rules else None
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
    kept = {site.write(_LOG, run=run, at=OLD + timedelta(hours=n)) for n in range(5)}
    old = [OLD - timedelta(hours=number) for number in range(30)]
    # Where most logs stay, those that go are deleted from the oldest on.
    site.write_many(_LOG, [{"run": other, "at": at} for at in (*old, *[YOUNG] * 300)])
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
