"""What the deletion of orchestration objects removes, and what hangs on them: exact counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ..catalogue import ARTIFACT, ARTIFACT_COLLECTION, FLOW_RUN, LOG, TASK_RUN, Table
from ..database.connection import Database
from ..events import Counting, Listener, silent
from ..measure.sizes import measure, ordered
from ..request.policy import Cutoffs
from . import candidates
from .counts import (
    BECAUSE,
    COUNT_ARTIFACTS,
    COUNT_COLLECTIONS,
    COUNT_RUN_LOGS,
    COUNT_RUNS,
    COUNT_STRAY_LOGS,
    COUNT_TASK_LOGS,
    COUNT_TASK_RUNS,
    DECIDED,
    RUN_TABLES,
    count_singles,
    kept_runs,
)
from .estimate import of_calls, of_deletes
from .plan import KEY_GONE, OLD, WITH_RUN, WITH_TASK_RUN, Kept, Plan, Reason, given, joined
from .purge import kept_live, of_rows
from .rule_counts import RuleCount
from .rules import Rules
from .survey import survey
from .via import choose_via


def plan_delete(
    database: Database, rules: Rules, cutoffs: Cutoffs, *, purged: bool, tell: Listener = silent
) -> Plan:
    """Count what the deletion through the API removes, and what hangs on it.

    Args:
        database: where to count.
        rules: the policy as SQL.
        cutoffs: the instants to count from.
        purged: logs older than their own cutoff count as gone already.
        tell: is told how far the counts are.

    The flow runs that go stay listed in the session, for `delete`.
    """
    bound = {
        name: getattr(cutoffs, name) for name in ("flow_runs", "task_runs", "artifacts", "orphans")
    }
    goes = rules.task_run_goes(after_runs=True)
    counting = Counting(tell, 4)
    candidates.make_tables(database)
    with database.snapshot():
        counting(FLOW_RUN.name)
        candidates.find(database, rules, cutoffs.flow_runs)
        counted = database.rows(COUNT_RUNS)[0]
        with_runs = dict(zip(RUN_TABLES, counted, strict=True))
        counting(LOG.name)
        dated = rules.dated_by(LOG)
        aged = dated.asking("c.rule").goes("x")
        decided = DECIDED if dated.run else ""
        logs = {**rules.values(LOG, cutoffs), "purged": purged}
        with_runs[LOG.name] = database.scalar(
            COUNT_RUN_LOGS.format(aged=dated.asking("d.rule").goes("x")), **logs
        )
        with_tasks = database.scalar(
            COUNT_TASK_LOGS.format(goes=goes, aged=aged, decided=decided),
            task_runs=bound["task_runs"], **logs,
        )  # fmt: skip
        with_tasks += database.scalar(
            COUNT_STRAY_LOGS.format(aged=aged, decided=decided), orphans=bound["orphans"], **logs
        )
        counting(TASK_RUN.name)
        by_themselves = database.rows(
            COUNT_TASK_RUNS.format(goes=goes), task_runs=bound["task_runs"], **rules.bound
        )[0]._asdict()
        counting(ARTIFACT.name)
        artifacts = {"artifacts": bound["artifacts"], **rules.bound}
        not_live = rules.not_live("x")
        old = database.scalar(COUNT_ARTIFACTS.format(not_live=not_live), **artifacts)
        keys = database.scalar(COUNT_COLLECTIONS.format(not_live=not_live), **artifacts)
        reasons = (
            *(Reason(table, count, _with(FLOW_RUN, table)) for table, count in with_runs.items()),
            *(Reason(table, n, _with(TASK_RUN, table)) for table, n in by_themselves.items()),
            Reason(LOG.name, with_tasks, WITH_TASK_RUN),
            Reason(ARTIFACT.name, old, OLD),
            Reason(ARTIFACT_COLLECTION.name, keys, KEY_GONE),
        )
        kept, of_rules = _kept_runs(database, rules, cutoffs.flow_runs)
        live = sum(
            database.scalar(COUNT_ARTIFACTS.format(not_live=one), **artifacts)
            for one in rules.live("x")
        )
    rows: dict[str, int] = {}
    for reason in reasons:
        rows[reason.what] = rows.get(reason.what, 0) + reason.rows
    kept = (*kept, *kept_live(ARTIFACT.name, live))
    return Plan(rows=rows, reasons=given(reasons), kept=kept, rules=of_rules)


def _kept_runs(
    database: Database, rules: Rules, cutoff: datetime
) -> tuple[tuple[Kept, ...], tuple[RuleCount, ...]]:
    """Say which flow runs stay although they are old enough, and what each rule decides."""
    of_rules: tuple[RuleCount, ...] = ()
    if rules.runs or rules.holds.listed:
        kept, of_rules = survey(database, rules, cutoff)
    else:
        kept = [
            Kept(FLOW_RUN.name, count, BECAUSE[reason].format(state=state), reason)
            for reason, state, count in database.rows(kept_runs(rules), flow_runs=cutoff)
        ]
    return tuple(sorted(kept, key=lambda kept: kept.why)), of_rules


def with_way(
    database: Database,
    rules: Rules,
    plan: Plan,
    asked: str,
    budget: int,
    *,
    given: bool,
    guarded: bool,
) -> Plan:
    """Add to a plan which way the flow runs go.

    Args:
        database: where the plan was made, in the same session.
        rules: the policy as SQL.
        plan: the rows that go.
        asked: "auto", "api" or "sql".
        budget: seconds that the API may take with "auto".
        given: there is an API.
        guarded: its server is new enough for a deletion with a guard.
    """
    if not any(plan.rows.values()):
        return plan
    runs, singles = plan.rows[FLOW_RUN.name], 0
    if runs and asked != "sql" and given and guarded:
        singles = min(runs, database.scalar(count_singles(rules)))
    via = choose_via(asked, runs=runs, singles=singles, budget=budget, given=given, guarded=guarded)
    return replace(plan, via=via)


def with_estimates(database: Database, plan: Plan) -> Plan:
    """Add to a plan what the deletion takes: all that hangs on a run counts as work on it."""
    rows = {ARTIFACT.name: plan.rows[ARTIFACT.name]}
    worked_on = FLOW_RUN if plan.rows[FLOW_RUN.name] else TASK_RUN
    rows[worked_on.name] = sum(plan.rows.values()) - rows[ARTIFACT.name]
    estimates = of_rows(database, rows)
    if plan.via and plan.via.through_api:
        estimates = joined(estimates, {FLOW_RUN.name: of_calls(plan.via.through_api)})
    if database.is_postgresql:
        for table, goes in plan.rows.items():
            if goes and table != LOG.name:
                size = measure(database, only=table, count=False, ages=False)[0]
                touched = of_deletes(size, goes, ordered(database, table))
                estimates = joined(estimates, {worked_on.name: touched})
    return replace(plan, estimates=estimates)


def _with(parent: Table, table: str) -> str:
    """Say why rows of a table go when rows of its parent do."""
    if table == parent.name:
        return OLD
    return WITH_RUN if parent == FLOW_RUN else WITH_TASK_RUN
