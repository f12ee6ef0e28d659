"""What the deletion of orchestration objects removes, and what hangs on them: exact counts."""

from __future__ import annotations

from ..catalogue import ARTIFACT, ARTIFACT_COLLECTION, FLOW_RUN, LOG, TASK_RUN
from ..database.connection import Database
from ..events import Counting, Listener, silent
from ..request.policy import Cutoffs
from . import candidates
from .counts import (
    COUNT_ARTIFACTS,
    COUNT_COLLECTIONS,
    COUNT_RUN_LOGS,
    COUNT_RUNS,
    COUNT_STRAY_LOGS,
    COUNT_TASK_LOGS,
    COUNT_TASK_RUNS,
    RUN_TABLES,
    kept_runs,
)
from .plan import Kept, Plan
from .purge import kept_live
from .rules import Rules


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
        name: getattr(cutoffs, name)
        for name in ("flow_runs", "task_runs", "artifacts", "logs", "orphans")
    }
    goes = rules.task_run_goes(after_runs=True)
    counting = Counting(tell, 4)
    candidates.make_tables(database)
    with database.snapshot():
        counting(FLOW_RUN.name)
        candidates.find(database, rules, cutoffs.flow_runs)
        counted = database.rows(COUNT_RUNS)[0]
        rows = dict(zip(RUN_TABLES, counted, strict=True))
        counting(LOG.name)
        rows[LOG.name] = database.scalar(COUNT_RUN_LOGS, purged=purged, logs=bound["logs"])
        rows[LOG.name] += database.scalar(
            COUNT_TASK_LOGS.format(goes=goes),
            **{name: bound[name] for name in ("task_runs", "logs")},
            purged=purged,
        )
        rows[LOG.name] += database.scalar(
            COUNT_STRAY_LOGS,
            **{name: bound[name] for name in ("logs", "orphans")},
            purged=purged,
        )
        counting(TASK_RUN.name)
        by_themselves = database.rows(
            COUNT_TASK_RUNS.format(goes=goes), task_runs=bound["task_runs"]
        )[0]
        for table, count in by_themselves._asdict().items():
            rows[table] += count
        counting(ARTIFACT.name)
        artifacts = {"artifacts": bound["artifacts"]}
        not_live = rules.not_live("x")
        rows[ARTIFACT.name] = database.scalar(
            COUNT_ARTIFACTS.format(not_live=not_live), **artifacts
        )
        rows[ARTIFACT_COLLECTION.name] = database.scalar(
            COUNT_COLLECTIONS.format(not_live=not_live), **artifacts
        )
        kept = [
            Kept(FLOW_RUN.name, count, why)
            for why, count in database.rows(kept_runs(rules), flow_runs=bound["flow_runs"])
        ]
        live = database.scalar(COUNT_ARTIFACTS.format(not_live=rules.live("x")), **artifacts)
    return Plan(rows=rows, kept=(*kept, *kept_live(ARTIFACT.name, live)))
