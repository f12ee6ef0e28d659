"""How often a purge reads the rows that it asks about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from maintenance import request as asked_of
from maintenance import run_step
from prefect_maintenance.execute.worklist import WORKLIST_LEFT
from statements import heard

from benchmarks.plan_backlog import fill, fill_events, rows_read
from lab.postgres import Postgres

ROWS = 40_000
LEFT = WORKLIST_LEFT.format(table="flow_run")
LARGE = ("flow_run", "flow_run_state", "task_run", "log", "prefect_maintenance_worklist")
RULES = [
    *({"events": [f"lab.type-{n}"], "keep": {"days": 10 * n + 5}} for n in range(7)),
    {"events": ["lab.type-7"], "keep": {"last": 3}},
    {"events": ["lab.type-1?"], "resources": ["lab.flow-run.1*"], "keep": {"days": 50}},
    {"resources": ["lab.flow-run.2*"], "keep": "forever"},
]


@pytest.fixture(scope="module")
def filled(cluster: Postgres, template: str) -> str:
    cluster.create_database("one_pass", template)
    fill_events(cluster, "one_pass", ROWS)
    cluster.execute("VACUUM ANALYZE", "one_pass")
    return "one_pass"


def read(cluster: Postgres, filled: str, strategy: str, *, check: bool) -> float:
    """Purge a copy by deletes, or only plan that; returns how often each event was read."""
    url = cluster.create_database("read", filled)
    before = rows_read(cluster, "read", "events")
    outcome = run_step("purge", purged(url, strategy), check=check)
    times = (rows_read(cluster, "read", "events") - before) / ROWS
    cluster.drop_database("read")
    assert outcome.report.plan.rows["events"] > ROWS / 50
    return times


def purged(url: str, strategy: str) -> dict[str, Any]:
    return asked_of(url, event_rules=RULES, purge_strategy=strategy, hold_tags=[])


def test_a_plan_reads_each_event_once_and_deletes_a_few_times(
    cluster: Postgres, filled: str
) -> None:
    # Once for itself and its resources; those of one type once more, for the last of each.
    planned = read(cluster, filled, "delete", check=True)
    done = read(cluster, filled, "delete", check=False)
    assert planned < 1.2
    # By the deletes, for the rows of resources that are left, and by the sample of pages that a
    # small table fits into.
    assert done - planned < 3


def test_a_rewrite_copies_the_events_in_one_pass(cluster: Postgres, filled: str) -> None:
    url = cluster.create_database("read", filled)
    told: list[str] = []

    with heard(lambda _, statement, __: told.append(" ".join(statement.split()))):
        run_step("purge", purged(url, "rewrite"))
    cluster.drop_database("read")
    copies = [sql for sql in told if sql.startswith("INSERT INTO events__maintenance_new")]
    assert len(copies) == 1
    rest = told[told.index(copies[0]) + 1 :]
    assert [sql for sql in rest if "FROM events x" in sql] == []


def test_deletes_of_logs_read_the_unfinished_runs_once_a_batch(
    cluster: Postgres, template: str
) -> None:
    url = cluster.create_database("unfinished", template)
    fill(cluster, "unfinished", runs=2000, links=1, logs=ROWS)
    cluster.execute("VACUUM ANALYZE", "unfinished")
    # The planner knows of none, and would read them again for each log.
    cluster.execute(
        "UPDATE flow_run SET state_type = 'RUNNING' WHERE id::text < '08'",
        "unfinished",
    )
    plans: list[str] = []

    def explain(cursor: Any, statement: str, values: Any) -> None:
        if statement.startswith("DELETE FROM log"):
            cursor.execute(f"EXPLAIN {statement}", values)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))

    with heard(explain):
        outcome = run_step(
            "purge", {"db_url": url, "retention_days": 80, "purge_strategy": "delete"}
        )
    assert outcome.report.deleted["log"] > ROWS / 20
    assert plans
    assert all("Hash Anti Join" in plan and "Nested Loop Anti" not in plan for plan in plans)


def read_whole(node: dict[str, Any], table: str) -> Iterator[str]:
    """Yield the large tables that a plan reads without asking an index for some of their rows."""
    table = node.get("Relation Name", table)
    kind, by_index = node["Node Type"], "Index Cond" in node
    if table in LARGE and (kind == "Seq Scan" or ("Index" in kind and not by_index)):
        yield table
    for child in node.get("Plans", ()):
        yield from read_whole(child, table)


@contextmanager
def whole_passes(begin: str) -> Iterator[set[tuple[str, str]]]:
    """Collect which large tables are read as a whole, by which statements, while rows go.

    Args:
        begin: what stands in the statement after which they go; the end is that of their list.
    """
    found: set[tuple[str, str]] = set()
    explained, inside = 0, False

    def explain(cursor: Any, statement: str, values: Any) -> None:
        nonlocal explained, inside
        if begin in statement or "TABLE IF EXISTS" in statement:
            inside = begin in statement
        elif inside and statement.split(None, 1)[0] in ("SELECT", "WITH", "DELETE"):
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
            explained += 1
            plan = cursor.fetchone()[0][0]["Plan"]
            found.update((table, statement) for table in read_whole(plan, ""))

    with heard(explain):
        yield found
    assert explained > 5


def deleted_runs(cluster: Postgres, template: str, *prepare: str) -> set[tuple[str, str]]:
    """Delete most runs of a database; returns which tables that reads as a whole meanwhile."""
    url = cluster.create_database("batches", template)
    fill(cluster, "batches", runs=8000, links=400, logs=ROWS)
    for sql in (*prepare, "VACUUM ANALYZE"):
        cluster.execute(sql, "batches")
    with whole_passes("prefect_maintenance_top") as passes:
        outcome = run_step("delete", {"db_url": url, "retention_days": 30, "run_delete_via": "sql"})
    cluster.drop_database("batches")
    assert outcome.report.deleted["flow_run"] > 1000
    assert outcome.report.deleted["log"] > ROWS / 2
    return passes


def test_a_batch_of_runs_is_found_by_indexes_however_many_runs_there_are(
    cluster: Postgres, template: str
) -> None:
    # As on a disk without moving parts; else reading as few runs as here as a whole may be right.
    cheap = "ALTER DATABASE batches SET random_page_cost = 1.1"
    passes = deleted_runs(cluster, template, cheap)
    # The rows that stay are counted once, at the end.
    assert passes <= {("flow_run", LEFT), ("prefect_maintenance_worklist", LEFT)}


def test_logs_of_runs_are_found_by_an_index_where_one_run_has_nearly_all(
    cluster: Postgres, template: str
) -> None:
    one = "UPDATE log SET flow_run_id = md5('r1')::uuid"
    assert "log" not in dict(deleted_runs(cluster, template, one))


def test_logs_of_gone_runs_are_found_by_an_index_whatever_run_has_the_most(
    cluster: Postgres, template: str
) -> None:
    url = cluster.create_database("batches", template)
    fill(cluster, "batches", runs=2000, links=1, logs=ROWS)
    gone = "CASE WHEN random() < 0.0005 THEN gen_random_uuid() ELSE md5('r1')::uuid END"
    cluster.execute(
        f"UPDATE log SET flow_run_id = {gone}, timestamp = now() - interval '1 day'", "batches"
    )
    cluster.execute("VACUUM ANALYZE", "batches")
    asked = {"db_url": url, "retention_days": 30, "purge_strategy": "delete"}
    with whole_passes("ANALYZE prefect_maintenance_worklist") as passes:
        outcome = run_step("purge", asked)
    cluster.drop_database("batches")
    assert 0 < outcome.report.deleted["log"] < 100
    assert not {node for node, statement in passes if statement.startswith("DELETE")}
