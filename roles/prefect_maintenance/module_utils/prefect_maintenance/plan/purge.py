"""What the purge by SQL removes, and how: counted in one snapshot, without a write."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..catalogue import (
    ARTIFACT_COLLECTION,
    BY_NAME,
    EVENT_RESOURCES,
    EVENTS,
    FLOW_RUN,
    LOG,
    TABLES,
    TASK_RUN,
)
from ..database.connection import Database
from ..events import Counting, Listener, silent
from ..measure.expected import expected_rows
from ..measure.room import Room
from ..measure.sizes import TableSize, measure, ordered
from ..request.policy import Cutoffs
from ..request.settings import Reclaim
from .about import About, about
from .closed import closed_ways, given_back, in_order
from .counts import (
    COUNT_EMPTY_COLLECTIONS,
    COUNT_GONE_LOGS,
    COUNT_GONE_RESOURCES,
    COUNT_UNFORCED,
    COUNT_YOUNG_GONE_LOGS,
)
from .dated_counts import Decided, count_aged, kept_by_rules, rule_counts
from .dated_rules import DatedRules
from .decisions import Decision, Situation, decide, deletes
from .estimate import Estimate, of_deletes, of_deletes_by_id, of_deletes_on_sqlite, of_rewrite
from .event_counts import count_events
from .event_rules import make_ranks, rank
from .gone_runs import gone_runs
from .log_counts import count_logs
from .plan import KEY_GONE, OLD, PARENT_GONE, Kept, Plan, Reason, given
from .rules import Rules, orphaned_rows

# Tables whose rows go by their own age.
AGED = tuple(table.name for table in TABLES if table.deleted_by == "sql")

# Looking up the run of so many logs takes as long as finding the next run that logs name.
_LOGS_A_RUN = 30


def plan_purge(
    database: Database,
    rules: Rules,
    cutoffs: Cutoffs,
    unforced: Collection[str],
    tell: Listener = silent,
    *,
    roughly: bool = False,
) -> Plan:
    """Count what the purge by SQL removes: rows by age, and orphans.

    Args:
        database: where to count.
        rules: the policy as SQL.
        cutoffs: the instants to count from.
        unforced: tables whose foreign keys the database does not enforce.
        tell: is told how far the counts are.
        roughly: estimate the rows of large tables from which most go; the plan says which.
    """
    counting = Counting(tell, len(AGED) + len(unforced) + 1)
    events = rules.dated_by(EVENTS)
    make_ranks(database, events)
    with database.snapshot():
        rank(database, events)
        sampled = _sampled(database, rules, cutoffs) if roughly else {}
        decided, gone = _decided(database, rules, cutoffs, counting, sampled)
        rows = {
            name: sum(one.goes for one in by_rule.values()) for name, by_rule in decided.items()
        }
        live = sum(one.live for by_rule in decided.values() for one in by_rule.values())
        orphaned = dict(gone)
        if events:
            # They go with their events, whatever way that is.
            orphaned[EVENT_RESOURCES.name] = 0
            rows[EVENT_RESOURCES.name] -= gone[EVENT_RESOURCES.name]
        reasons = [
            *(Reason(table, rows[table], OLD) for table in AGED),
            *(Reason(table, count, PARENT_GONE) for table, count in gone.items()),
        ]
        for table, count in gone.items():
            rows[table] += count
        for table in sorted(unforced):
            counting(table)
            rows[table] = database.scalar(
                COUNT_UNFORCED.format(table=table, orphaned=orphaned_rows(BY_NAME[table]))
            )
            reasons.append(Reason(table, rows[table], PARENT_GONE))
        rows[ARTIFACT_COLLECTION.name] = database.scalar(COUNT_EMPTY_COLLECTIONS)
        reasons.append(Reason(ARTIFACT_COLLECTION.name, rows[ARTIFACT_COLLECTION.name], KEY_GONE))
    by_rules = [kept_by_rules(rules, BY_NAME[name], decided[name]) for name in decided]
    return Plan(
        rows=rows,
        reasons=given(reasons),
        kept=(*kept_live(LOG.name, live), *(kept for of_table in by_rules for kept in of_table)),
        orphaned=orphaned,
        rules=tuple(
            counted
            for kind, table in (("event", EVENTS), ("resource", EVENT_RESOURCES), ("log", LOG))
            for counted in rule_counts(database, rules, kind, table, decided[table.name])
        ),
        about={name: some.young + decided[name][0].live for name, some in sampled.items()},
    )


def _sampled(database: Database, rules: Rules, cutoffs: Cutoffs) -> dict[str, About]:
    """Estimate what goes of each table by its age, where that is enough."""
    some = {name: about(database, rules, BY_NAME[name], cutoffs) for name in AGED}
    return {name: one for name, one in some.items() if one}


def _decided(
    database: Database,
    rules: Rules,
    cutoffs: Cutoffs,
    counting: Counting,
    sampled: Mapping[str, About],
) -> tuple[dict[str, Mapping[int, Decided]], dict[str, int]]:
    """Count what goes of each table by its rules, and what its gone parents take along."""
    decided: dict[str, Mapping[int, Decided]] = {}
    gone: dict[str, int] = {}
    for name in AGED:
        counting(name)
        if name == LOG.name and rules.dated_by(LOG):
            decided[name], gone[name] = count_logs(database, rules, cutoffs)
        elif name == EVENTS.name and rules.dated_by(EVENTS):
            of_events, gone[EVENT_RESOURCES.name] = count_events(database, rules, cutoffs)
            decided |= of_events
        elif name not in decided:
            decided[name] = count_aged(database, rules, BY_NAME[name], cutoffs, sampled.get(name))
    counting(f"orphans of {LOG.name}")
    if LOG.name not in gone:
        gone[LOG.name] = _gone_logs(database, rules, cutoffs, sampled.get(LOG.name))
    if EVENT_RESOURCES.name not in gone:
        count = database.scalar(COUNT_GONE_RESOURCES, events=cutoffs.events)
        gone[EVENT_RESOURCES.name] = count
    return decided, {name: gone[name] for name in (LOG.name, EVENT_RESOURCES.name)}


def with_decisions(
    database: Database, plan: Plan, asked: str, wanted: Reclaim, room: Room | None = None
) -> Plan:
    """Add to a plan how the rows of each table that is purged by age go, and what that takes.

    The decisions stand in the order in which they are carried out: what needs the smallest copy
    first, each with the room that those before it leave.

    Args:
        database: where.
        plan: the rows that go.
        asked: "auto", "delete" or "rewrite".
        wanted: what becomes of the space afterwards.
        room: what is free on its disks; None where nobody can know.
    """
    decided: dict[str, Decision] = {}
    estimates = of_rows(database, plan.rows)
    aged = [table for table in AGED if plan.rows[table]] if database.is_postgresql else []
    sizes = {name: measure(database, only=name, count=False, ages=False)[0] for name in aged}
    for table in in_order(_copies(sizes, plan.rows)):
        found = Situation(
            size=sizes[table],
            goes=plan.rows[table],
            ordered=ordered(database, table),
        )
        wal = of_deletes(found.size, found.goes, found.ordered).wal_bytes
        closed = closed_ways(database, room, found.size, found.kept_bytes, deleted_wal=wal)
        found = replace(found, closed=closed)
        decided[table] = decide(found, asked, wanted)
        estimates[table] = _estimated(found, decided[table], wanted)
        room = given_back(database, room, table, decided[table].gives_back)
    return replace(plan, decisions=decided, estimates=estimates)


def _copies(sizes: Mapping[str, TableSize], goes: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes of each table's copy, those of a child at least those of its parent.

    Rows whose parent goes are orphans only after it.
    """
    copies = {name: size.kept_bytes(goes[name]) for name, size in sizes.items()}
    return {
        name: max(own, *(copies.get(parent.table, 0) for parent in BY_NAME[name].parents), 0)
        for name, own in copies.items()
    }


def of_rows(database: Database, rows: Mapping[str, int]) -> dict[str | None, Estimate]:
    """Estimate deleting rows by their ids, the space that they leave not included."""
    of = of_deletes_by_id if database.is_postgresql else of_deletes_on_sqlite
    return {table: of(count) for table, count in rows.items() if count}


def _estimated(found: Situation, decision: Decision, wanted: Reclaim) -> Estimate:
    """Estimate the purge of a table as it was decided, without the reclaim after it."""
    if decision.strategy == "rewrite":
        copied = of_rewrite(found.size, found.kept_bytes)
        return replace(copied, bytes_back=decision.gives_back)
    return deletes(found, wanted)[0]


def _gone_logs(database: Database, rules: Rules, cutoffs: Cutoffs, some: About | None) -> int:
    """Count the logs whose run is gone and whose age alone would keep them, without rules."""
    dated, values = rules.dated_by(LOG), rules.values(LOG, cutoffs)
    few, rows = _few_young_logs(database, dated, values, some), 0
    for parent in LOG.parents:
        only = "AND x.flow_run_id IS NULL" if parent.table == TASK_RUN.name else ""
        sql = COUNT_YOUNG_GONE_LOGS
        if not few:
            sql = f"WITH RECURSIVE {gone_runs(database, parent.column)} {COUNT_GONE_LOGS}"
        sql = sql.format(
            column=parent.column, parent=parent.table, only=only, stays=dated.stays("x")
        )
        rows += database.scalar(sql, orphans=cutoffs.orphans, **values)
    return rows


def _few_young_logs(
    database: Database, dated: DatedRules, values: Mapping[str, Any], some: About | None
) -> bool:
    """Tell whether asking each log that age may keep takes less than looking for gone runs."""
    within = dated.within("x")
    if not (database.is_postgresql and within):
        return False
    young = some.young if some else expected_rows(database, LOG.name, within, **values)
    return young <= _LOGS_A_RUN * expected_rows(database, FLOW_RUN.name)


def kept_live(table: str, rows: int) -> tuple[Kept, ...]:
    """Say that rows stay because their flow run is not finished, if there are any."""
    return (Kept(table, rows, "their flow run is not finished", "unfinished"),) if rows else ()
