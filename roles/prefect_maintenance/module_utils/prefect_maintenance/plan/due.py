"""The oldest row of each table that the policy would delete and that is still there.

The oldest row of all says little: a run that is kept on purpose only grows older. This one is
what a monitor may watch, because it is none after each run that did all its work.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from ..catalogue import FLOW_RUN, TABLES, TASK_RUN, Table
from ..database.connection import Database
from ..request.policy import Cutoffs
from . import ranks
from .event_due import oldest_events
from .rules import Rules
from .words import age as run_age

_NOT_AMONG_THE_NEWEST = " AND r.id NOT IN (SELECT n.id FROM ({newest}) n)"
# Infinity and the years before Christ are no dates in Python.
_IN_PYTHON = "{age} >= '0001-01-02'"
_OLDEST = "SELECT {age} FROM {table} {r} WHERE {goes} AND {in_python} ORDER BY {age} LIMIT :n"
_OLDEST_RUNS = (
    "SELECT CAST(r.id AS VARCHAR), {age} FROM flow_run r WHERE {goes} AND {in_python} "
    "ORDER BY {age} LIMIT :n"
)
_LINKS = """
SELECT CAST(t.flow_run_id AS VARCHAR), CAST(c.id AS VARCHAR)
FROM flow_run c JOIN task_run t ON t.id = c.parent_task_run_id WHERE t.flow_run_id IS NOT NULL
"""
_GO_BY_THEMSELVES = """
SELECT CAST(r.id AS VARCHAR) FROM flow_run r
WHERE {goes} AND (r.parent_task_run_id IS NOT NULL OR r.id IN (
    SELECT t.flow_run_id FROM flow_run c JOIN task_run t ON t.id = c.parent_task_run_id))
"""


def oldest_due(database: Database, rules: Rules, cutoffs: Cutoffs) -> dict[str, datetime | None]:
    """Return for each table that the policy dates the oldest row that should have gone.

    Args:
        database: where; nothing is written, so that a standby will do.
        rules: the policy as SQL.
        cutoffs: the instants to count from.
    """
    found: dict[str, datetime | None] = {}
    rules = rules.for_reading
    with database.snapshot():
        by_rules = oldest_events(database, rules, cutoffs, _IN_PYTHON)
        for table in TABLES:
            if table.entity is None:
                continue
            cutoff = getattr(cutoffs, table.entity)
            if table == FLOW_RUN:
                found[table.name] = _oldest_run(database, rules, cutoff)
            elif table == TASK_RUN:
                goes = rules.task_run_goes(after_runs=False)
                age = run_age("t")
                found[table.name] = _oldest(
                    database, table, "t", age, goes, task_runs=cutoff, **rules.bound
                )
            elif table.name in by_rules:
                found[table.name] = _instant(by_rules[table.name])
            else:
                age = f"x.{table.age}"
                goes, values = rules.aged(table.name), rules.values(table, cutoffs)
                found[table.name] = _oldest(database, table, "x", age, goes, **values)
    return found


def _oldest(
    database: Database, table: Table, alias: str, age: str, goes: str, **bound: Any
) -> datetime | None:
    sql = _OLDEST.format(
        age=age, table=table.name, r=alias, goes=goes, in_python=_IN_PYTHON.format(age=age)
    )
    return _instant(database.scalar(sql, n=1, **bound))


def _oldest_run(database: Database, rules: Rules, cutoff: datetime) -> datetime | None:
    """Return the oldest run whose whole tree of subflows goes."""
    kept = _kept_trees(database, rules, cutoff)
    age = run_age("r")
    sql = _OLDEST_RUNS.format(age=age, goes=_run_goes(rules), in_python=_IN_PYTHON.format(age=age))
    # Among so many at least one is not kept, when there is one.
    for run, at in database.rows(sql, n=len(kept) + 1, flow_runs=cutoff, **rules.bound):
        if run not in kept:
            return _instant(at)
    return None


def _kept_trees(database: Database, rules: Rules, cutoff: datetime) -> set[str]:
    """Return the runs that go by themselves and stay with their tree.

    The links are few and are followed here: as a recursive query, a planner that knows nothing of
    their shape takes minutes for them.
    """
    relatives: dict[str, list[str]] = defaultdict(list)
    for parent, child in database.rows(_LINKS):
        relatives[parent].append(child)
        relatives[child].append(parent)
    sql = _GO_BY_THEMSELVES.format(goes=_run_goes(rules))
    goes = {str(row[0]) for row in database.rows(sql, flow_runs=cutoff, **rules.bound)}
    spared = set(relatives) - goes
    left = list(spared)
    while left:
        for run in relatives[left.pop()]:
            if run not in spared:
                spared.add(run)
                left.append(run)
    return spared & goes


def _run_goes(rules: Rules) -> str:
    """Flow run `r` goes by itself, and is not among the newest that its rule keeps."""
    if not rules.runs.ranked:
        return rules.run_goes
    newest = ranks.newest(rules.runs, f"({rules.runs.every_rule})")
    return rules.run_goes + _NOT_AMONG_THE_NEWEST.format(newest=newest)


def _instant(value: Any) -> datetime | None:
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value if isinstance(value, datetime) else None
