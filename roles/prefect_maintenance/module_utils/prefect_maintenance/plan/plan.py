"""What would go: exact counts, taken in one snapshot, without a write to Prefect's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..catalogue import BY_NAME, TABLES
from ..database.connection import Database
from ..request.policy import Cutoffs
from . import candidates, counts
from .rules import Rules, gone_runs, orphaned_rows


@dataclass(frozen=True)
class Kept:
    """Rows that are old enough to go and stay all the same, and the reason."""

    what: str
    rows: int
    why: str


@dataclass(frozen=True)
class Plan:
    """Rows that go, per table, cascades included.

    Attributes:
        rows: by table.
        kept: what stays although it is old enough.
        orphaned: those of `rows` whose parent is gone and whose age alone would keep them.
    """

    rows: Mapping[str, int]
    kept: tuple[Kept, ...]
    orphaned: Mapping[str, int]


def plan_purge(database: Database, rules: Rules, cutoffs: Cutoffs, unforced: set[str]) -> Plan:
    """Count what the purge by SQL removes: rows by age, and orphans.

    Args:
        database: where to count.
        rules: the policy as SQL.
        cutoffs: the instants to count from.
        unforced: tables whose foreign keys the database does not enforce.
    """
    bound = _bound(cutoffs)
    with database.snapshot():
        rows, live = {}, 0
        for name in AGED:
            old, spared = _aged(database, rules, name, cutoffs)
            rows[name] = old - spared
            live += spared
        orphaned = {
            "log": sum(
                database.scalar(
                    f"WITH RECURSIVE {gone_runs(column)} "
                    + counts.COUNT_GONE_LOGS.format(
                        column=column,
                        only="AND x.flow_run_id IS NULL" if column == "task_run_id" else "",
                    ),
                    orphans=bound["orphans"],
                    logs=bound["logs"],
                )
                for column in ("flow_run_id", "task_run_id")
            ),
            "event_resources": database.scalar(counts.COUNT_GONE_RESOURCES, events=bound["events"]),
        }
        for table, count in orphaned.items():
            rows[table] += count
        for table in sorted(unforced):
            rows[table] = database.scalar(
                counts.COUNT_UNFORCED.format(table=table, orphaned=orphaned_rows(BY_NAME[table]))
            )
        rows["artifact_collection"] = database.scalar(counts.COUNT_EMPTY_COLLECTIONS)
    return Plan(rows=rows, kept=_kept({"log": live}), orphaned=orphaned)


def plan_delete(database: Database, rules: Rules, cutoffs: Cutoffs, *, purged: bool) -> Plan:
    """Count what the deletion through the API removes, and what hangs on it.

    Args:
        database: where to count.
        rules: the policy as SQL.
        cutoffs: the instants to count from.
        purged: logs older than their own cutoff count as gone already.

    The flow runs that go stay listed in the session, for `delete`.
    """
    bound = _bound(cutoffs)
    goes = rules.task_run_goes(after_runs=True)
    candidates.make_tables(database)
    with database.snapshot():
        candidates.find(database, rules, cutoffs.flow_runs)
        counted = database.rows(counts.COUNT_RUNS)[0]
        rows = dict(zip(counts.RUN_TABLES, counted, strict=True))
        rows["log"] = database.scalar(counts.COUNT_RUN_LOGS, purged=purged, logs=bound["logs"])
        rows["log"] += database.scalar(
            counts.COUNT_TASK_LOGS.format(goes=goes),
            **{name: bound[name] for name in ("task_runs", "logs")},
            purged=purged,
        )
        rows["log"] += database.scalar(
            counts.COUNT_STRAY_LOGS,
            **{name: bound[name] for name in ("logs", "orphans")},
            purged=purged,
        )
        alone = database.rows(
            counts.COUNT_TASK_RUNS.format(goes=goes), task_runs=bound["task_runs"]
        )[0]
        for table, count in alone._asdict().items():
            rows[table] += count
        artifacts = {"artifacts": bound["artifacts"]}
        not_live = rules.not_live("x")
        rows["artifact"] = database.scalar(
            counts.COUNT_ARTIFACTS.format(not_live=not_live), **artifacts
        )
        rows["artifact_collection"] = database.scalar(
            counts.COUNT_COLLECTIONS.format(not_live=not_live), **artifacts
        )
        kept = [
            Kept("flow_run", count, why)
            for why, count in database.rows(counts.kept_runs(rules), flow_runs=bound["flow_runs"])
        ]
        live = database.scalar(counts.COUNT_ARTIFACTS.format(not_live=rules.live("x")), **artifacts)
    return Plan(rows=rows, kept=(*kept, *_kept({"artifact": live})), orphaned={})


AGED = tuple(table.name for table in TABLES if table.deleted_by == "sql")


def _aged(database: Database, rules: Rules, table: str, cutoffs: Cutoffs) -> tuple[int, int]:
    """Count the rows of a table older than the cutoff, and those of them that stay.

    Both are cheap by themselves: the first reads in order, the second follows the few
    unfinished runs; asking every old row for its run would be neither.
    """
    cutoff = getattr(cutoffs, str(BY_NAME[table].entity))
    young, *spared = rules.keeps(BY_NAME[table])
    old = counts.COUNT_ROWS.format(table=table, condition=f"NOT {young}")
    return database.scalar(old, cutoff=cutoff), sum(
        database.scalar(counts.COUNT_ROWS.format(table=table, condition=keep), cutoff=cutoff)
        for keep in spared
    )


def _kept(live: Mapping[str, int]) -> tuple[Kept, ...]:
    return tuple(
        Kept(table, rows, "their flow run is not finished") for table, rows in live.items() if rows
    )


def _bound(cutoffs: Cutoffs) -> dict[str, Any]:
    return {
        name: getattr(cutoffs, name)
        for name in ("flow_runs", "task_runs", "artifacts", "logs", "events", "orphans")
    }
