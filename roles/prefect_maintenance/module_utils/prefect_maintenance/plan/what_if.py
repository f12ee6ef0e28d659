"""What would go with a policy, in seconds: from statistics and samples, or counted.

PostgreSQL's own estimate of how many rows are older than an instant rests on the histogram of the
column, its most common values and the size of the table now; EXPLAIN tells it without reading a
row. What it cannot know, such as the state of a log's run, is asked of a sample of pages, which
takes the same time however large the table is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..catalogue import (
    ARTIFACT,
    ARTIFACT_COLLECTION,
    BY_NAME,
    EVENT_RESOURCES,
    EVENTS,
    FLOW_RUN,
    LOG,
    TABLES,
    TASK_RUN,
    TASK_RUN_STATE,
    Table,
)
from ..database.connection import Database
from ..errors import Cancelled
from ..events import Counting, Listener, silent
from ..measure.expected import expected_rows
from ..measure.growth import sample_of, sampled_share
from ..measure.sizes import TableSize, analysed
from ..request.policy import Cutoffs, Policy
from .about import SHARE
from .bulk_rules import bulk_rules
from .delete import plan_delete
from .event_rules import goes_with_purge
from .holds import Holds
from .plan import Plan
from .purge import plan_purge
from .ranked_share import ranked_share
from .rules import Rules

# A statement that takes longer is ended, so that nobody waits for an estimate.
_SECONDS = 5
_BOUND = f"SET LOCAL statement_timeout = '{_SECONDS}s'"
# Of pages that a sample reads, and that are asked for the run of each row.
_PAGES, _PAGES_WITH_RUNS = 1000, 250

_MAY_COUNT = (
    "SELECT NOT pg_is_in_recovery() AND has_database_privilege(current_database(), 'TEMPORARY')"
)

_ITS_RUN_GOES = "EXISTS (SELECT 1 FROM flow_run r WHERE r.id = {run} AND {goes})"
_ITS_TASK_RUN_GOES = "EXISTS (SELECT 1 FROM task_run t WHERE t.id = x.task_run_id AND {goes})"


@dataclass(frozen=True)
class WhatIf:
    """What would go of a table with a policy.

    Attributes:
        table: its name.
        entity: whose retention decides about it.
        rows: that would go.
        bytes: that they take, with their share of indexes and TOAST.
        share: of the table's rows, from 0 to 1.
        exact: whether the rows were counted; bytes are always in proportion to them.
    """

    table: str
    entity: str
    rows: int
    bytes: int
    share: float
    exact: bool


def may_count(database: Database) -> bool:
    """Tell whether rows can be counted as a check does, which needs temporary tables."""
    return not database.is_postgresql or bool(database.scalar(_MAY_COUNT))


def counted(
    database: Database,
    rules: Rules,
    cutoffs: Cutoffs,
    unforced: Iterable[str],
    tell: Listener = silent,
) -> Plan:
    """Count what would go, as the check of a maintenance does."""
    plan = plan_purge(database, rules, cutoffs, frozenset(unforced), tell)
    return plan.joined(plan_delete(database, rules, cutoffs, purged=True, tell=tell))


def of_plan(plan: Plan, sizes: Iterable[TableSize]) -> tuple[WhatIf, ...]:
    """Return what goes of each table by a plan."""
    rows = {size.name: plan.rows.get(size.name, 0) for size in sizes}
    return tuple(_of_rows(size, size.share(rows[size.name]), rows[size.name]) for size in sizes)


def estimated(
    database: Database,
    rules: Rules,
    cutoffs: Cutoffs,
    sizes: Iterable[TableSize],
    tell: Listener = silent,
) -> tuple[list[WhatIf], list[str]]:
    """Estimate what would go from statistics and samples, on PostgreSQL.

    Returns:
        What would go of each table, and those tables for which it would have taken too long.
    """
    found: list[WhatIf] = []
    left: list[str] = []
    # Where no tag is there that holds, no run has to be asked for its tags.
    rules = rules if rules.holds.there else replace(rules, holds=Holds())
    looked = [size for size in sizes if size.name != ARTIFACT_COLLECTION.name]
    counting, old = Counting(tell, len(looked)), 1.0
    # Flow runs come first, because what the newest of them keep holds for what hangs on them too.
    for size in sorted(looked, key=lambda size: size.name != FLOW_RUN.name):
        counting(size.name)
        try:
            with database.snapshot():
                database.run(_BOUND)
                if size.name == FLOW_RUN.name:
                    old = _not_ranked(database, size, rules, cutoffs)
                share = _share(database, size, rules, cutoffs, old)
        except Cancelled:
            left.append(size.name)
        else:
            found.append(_of_rows(size, share))
    order = [size.name for size in looked]
    return sorted(found, key=lambda one: order.index(one.table)), left


def without_order(rules: Rules, policy: Policy, cutoffs: Cutoffs) -> Rules:
    """Return rules that need no table made beforehand: what `last` keeps of events is left out."""
    told = tuple(
        replace(rule, keep=replace(rule.keep, days=rule.keep.days or 0, last=None))
        if rule.keep.last
        else rule
        for rule in policy.event_rules
    )
    policy = replace(policy, event_rules=told)
    dated = bulk_rules(policy, rules.runs, cutoffs, rules.runs.patterns)
    return replace(rules, dated=dated).now


def _of_rows(size: TableSize, share: float, rows: int | None = None) -> WhatIf:
    live = max(0, size.bytes - size.bloat_bytes)
    return WhatIf(
        table=size.name,
        entity=entity_of(BY_NAME[size.name]),
        rows=round(share * size.rows) if rows is None else rows,
        bytes=int(share * live),
        share=round(share, 4),
        exact=rows is not None,
    )


def entity_of(table: Table) -> str:
    """Return whose retention decides about the rows of a table, if need be about its parents'."""
    if table.entity:
        return table.entity
    above = table.parents[0].table if table.parents else str(table.repeats)
    return entity_of(BY_NAME[above])


def _share(
    database: Database, size: TableSize, rules: Rules, cutoffs: Cutoffs, old: float
) -> float:
    """Return the share of a table's rows that would go.

    Args:
        database: where.
        size: of the table.
        rules: the policy as SQL.
        cutoffs: the instants to count from.
        old: share of the runs which are old enough that is not kept among the newest.
    """
    table = BY_NAME[size.name]
    by_age = table.deleted_by == "sql"
    if by_age and not rules.dated_by(table) and analysed(database, table.name):
        share = _older(database, table, getattr(cutoffs, str(table.entity)))
    else:
        share = _sampled(database, size, _goes(table, rules), _values(table, rules, cutoffs))
    if table == LOG and (rules.runs or cutoffs.flow_runs > cutoffs.logs):
        # Young enough by themselves, and gone with their run.
        stays = f"({rules.dated_by(LOG).goes('x')}) IS NOT TRUE"
        with_run = _ITS_RUN_GOES.format(run="x.flow_run_id", goes=rules.run_goes)
        values = _values(table, rules, cutoffs)
        share += old * _sampled(database, size, f"{stays} AND {with_run}", values)
    return min(1.0, share if table == ARTIFACT or by_age else share * old)


def _not_ranked(database: Database, size: TableSize, rules: Rules, cutoffs: Cutoffs) -> float:
    share, values = sampled_share(size, _PAGES), _values(FLOW_RUN, rules, cutoffs)
    return ranked_share(database, rules, sample_of(size, "r", _PAGES), share, values)


def _older(database: Database, table: Table, cutoff: datetime) -> float:
    """Return the share of rows older than an instant, as the planner knows it."""
    old = expected_rows(database, table.name, f"x.{table.age} < :cutoff", cutoff=cutoff)
    return min(1.0, old / expected_rows(database, table.name))


def _sampled(database: Database, size: TableSize, goes: str, values: Mapping[str, Any]) -> float:
    alias = {FLOW_RUN.name: "r", TASK_RUN.name: "t"}.get(size.name, "x")
    sample = sample_of(size, alias, _PAGES if size.name == FLOW_RUN.name else _PAGES_WITH_RUNS)
    gone, seen = database.rows(SHARE.format(goes=goes, sample=sample), **values)[0]
    return gone / seen if seen else 0.0


def _goes(table: Table, rules: Rules) -> str:
    """Row of a table would go, as far as the row, its run and its task run tell."""
    if table == FLOW_RUN:
        return rules.run_goes
    if table == ARTIFACT:
        return f"x.created < :artifacts AND {rules.not_live('x')}"
    if table == TASK_RUN_STATE:
        return _ITS_TASK_RUN_GOES.format(goes=_task_run_goes(rules))
    if table == TASK_RUN:
        return _task_run_goes(rules)
    events = rules.dated_by(EVENTS)
    if table == EVENT_RESOURCES and events:
        return goes_with_purge(events)
    if table.deleted_by == "sql":
        return rules.dated_by(table).goes("x")
    return _ITS_RUN_GOES.format(run="x.flow_run_id", goes=rules.run_goes)


def _task_run_goes(rules: Rules) -> str:
    with_run = _ITS_RUN_GOES.format(run="t.flow_run_id", goes=rules.run_goes)
    return f"({with_run} OR {rules.task_run_goes(after_runs=False)})"


def _values(table: Table, rules: Rules, cutoffs: Cutoffs) -> dict[str, Any]:
    """Return whatever a condition on rows of a table may bind."""
    bound = {one.entity: getattr(cutoffs, one.entity) for one in TABLES if one.entity}
    # Whether a resource goes is asked of its event.
    dated = EVENTS if table == EVENT_RESOURCES else table
    return {**bound, **rules.bound, **(rules.values(dated, cutoffs) if table.entity else {})}
