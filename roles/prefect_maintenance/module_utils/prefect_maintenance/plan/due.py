"""The oldest row of each table that the policy would delete and that is still there.

The oldest row of all says little: a run that is kept on purpose only grows older. This one is
what a monitor may watch, because it is none after each run that did all its work.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..catalogue import FLOW_RUN, TABLES, TASK_RUN, Table
from ..database.connection import Database
from ..request.policy import Cutoffs
from . import ranks
from .event_due import oldest_events
from .joins import without
from .log_rules import RUN
from .rules import Rules
from .words import age as run_age

_NOT_AMONG_THE_NEWEST = " AND NOT EXISTS (SELECT 1 FROM ({newest}) n WHERE n.id = r.id)"
# Infinity and the years before Christ are no dates in Python.
_IN_PYTHON = "{age} >= '0001-01-02'"
_OLDEST = "SELECT {age} FROM {table} {r} WHERE {goes} AND {in_python} ORDER BY {age} LIMIT :n"
_OLDEST_RUNS = (
    "SELECT CAST(r.id AS VARCHAR), {age} FROM {runs} WHERE {goes} AND {in_python} "
    "ORDER BY {age} LIMIT :n"
)
_LINKS = """
SELECT CAST(t.flow_run_id AS VARCHAR), CAST(c.id AS VARCHAR)
FROM flow_run c JOIN task_run t ON t.id = c.parent_task_run_id WHERE t.flow_run_id IS NOT NULL
"""
# Apart, because a list of parents beside OR is gone through again for every run once it is long.
_GO_BY_THEMSELVES = """
WITH g AS MATERIALIZED (
    SELECT r.id AS id, r.parent_task_run_id AS parent FROM {runs} WHERE {goes})
SELECT CAST(g.id AS VARCHAR) FROM g WHERE g.parent IS NOT NULL
UNION ALL
SELECT CAST(g.id AS VARCHAR) FROM g WHERE g.parent IS NULL AND g.id IN (
    SELECT t.flow_run_id FROM flow_run c JOIN task_run t ON t.id = c.parent_task_run_id)
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
    # How many kinds of runs there are is known to nobody beforehand, and sorting takes longer.
    hashed = ("mergejoin",) if rules.runs else ()
    with database.snapshot(), without(database, *hashed):
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
                age, values = f"x.{table.age}", rules.values(table, cutoffs)
                x, of_table = _with_its_run(rules, table)
                goes = of_table.aged(table.name)
                found[table.name] = _oldest(database, table, x, age, goes, **values)
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
    sql = _OLDEST_RUNS.format(age=age, **_of_runs(rules), in_python=_IN_PYTHON.format(age=age))
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
    sql = _GO_BY_THEMSELVES.format(**_of_runs(rules))
    goes = {str(row[0]) for row in database.rows(sql, flow_runs=cutoff, **rules.bound)}
    spared = set(relatives) - goes
    left = list(spared)
    while left:
        for run in relatives[left.pop()]:
            if run not in spared:
                spared.add(run)
                left.append(run)
    return spared & goes


def _with_its_run(rules: Rules, table: Table) -> tuple[str, Rules]:
    """Write rows `x`, with the rule of their flow run where rules for the table ask for that."""
    dated = rules.dated_by(table)
    if not dated.run:
        return "x", rules
    known = rules.runs.with_kinds("r.id AS id, k.rule AS rule")
    joined = f"x LEFT JOIN ({known}) r ON r.id = {RUN.format(x='x')}"
    return joined, replace(rules, dated={**rules.dated, table.name: dated.asking("r.rule")})


def _of_runs(rules: Rules) -> dict[str, str]:
    """Write flow runs `r`, and that one goes by itself and is not among the newest of its rule."""
    if not rules.runs:
        return {"runs": f"{FLOW_RUN.name} r", "goes": rules.run_goes}
    goes = rules.decided_run_goes("COALESCE(r.rule, 0)")
    if rules.runs.ranked:
        newest = ranks.newest(rules.runs, f"({rules.runs.every_rule})")
        goes += _NOT_AMONG_THE_NEWEST.format(newest=newest)
    return {"runs": f"({rules.runs.with_kinds('r.*, k.rule AS rule')}) r", "goes": goes}


def _instant(value: Any) -> datetime | None:
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value if isinstance(value, datetime) else None
