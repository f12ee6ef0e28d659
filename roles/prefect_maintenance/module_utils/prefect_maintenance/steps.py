"""The four verbs behind both doors: inspect, purge, delete, reclaim.

Each opens what it needs, makes sure that it is at the right place, does its part, and returns
the report continued. What ends a step after it has begun is part of its outcome, so that
nothing that was done is lost; what keeps it from beginning is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .catalogue import BY_NAME, TABLES
from .connection import Database, connect, only_runner
from .errors import ConnectionFailed, MaintenanceError, SettingsError
from .inspect import Server, database_bytes, examine, growth, measure, require_writable
from .ledger import Ledger
from .pace import Pace
from .plan import AGED, Plan, plan_delete, plan_purge
from .purge import Purge, purge
from .queries import Rules
from .reclaim import Reclaiming, foreseen, reclaim
from .render import render, render_sizes
from .report import Report
from .settings import BULK_LIMIT, Settings

if TYPE_CHECKING:
    from .api import PrefectApi


@dataclass(frozen=True)
class Outcome:
    """How a step ended: whether it changed anything, the report, its own answers, its failure.

    `before` and `after` tell a person the difference per table: rows that are due, or bytes.
    """

    changed: bool
    report: Report
    summary: list[str]
    answers: Mapping[str, Any]
    before: Mapping[str, int]
    after: Mapping[str, int]
    error: MaintenanceError | None = None


def bloat_info(settings: Settings, pace: Pace) -> Outcome:
    """Measure everything; writes nothing.

    Raises:
        MaintenanceError: the database cannot be measured, or it is not the API's.
    """
    with _begun(settings) as (database, server, report, clock):
        report = _with_api(settings, database, report)
        report = report.with_sizes("before", measure(database))
        for table in report.tables:
            entity = BY_NAME[table.name].entity
            if entity:
                report = report.with_table(table.name, cutoff=report.cutoffs[entity])
        drivers = growth(database, settings.cutoffs.flow_runs) if settings.growth_drivers else []
        report = report.finished("inspect", clock())
    answers = {
        "server": dict(report.server),
        "database": {
            "dialect": server.dialect,
            "version": server.version,
            "revision": server.revision,
            "bytes": report.database["bytes_before"],
        },
        "tables": [
            {
                "name": t.name,
                "rows": t.rows_before,
                "rows_method": t.rows_method,
                "heap_bytes": t.heap_bytes,
                "toast_bytes": t.toast_bytes,
                "index_bytes": t.index_bytes,
                "bytes": t.bytes_before,
                "dead": t.dead_before,
                "bloat_bytes": t.bloat_bytes,
                "bloat_percent": t.bloat_percent,
                "bloat_method": t.bloat_method,
                "oldest": t.oldest_after,
                "cutoff": t.cutoff,
            }
            for t in report.tables
        ],
        "growth": drivers,
    }
    return Outcome(False, report, render_sizes(report, drivers), answers, {}, {})


def purge_rows(settings: Settings, pace: Pace) -> Outcome:
    """Purge logs, events, their resources and orphans by SQL.

    Raises:
        MaintenanceError: the purge could not begin.
    """
    with _begun(settings) as (database, server, report, clock):
        report = _with_api(settings, database, report, write=not settings.check)
        require_writable(database, server, [*AGED, "artifact_collection", *server.unforced])
        rules = _rules(settings, server)
        with nullcontext() if settings.check else only_runner(database):
            plan = plan_purge(database, rules, settings.cutoffs, set(server.unforced))
            if settings.check:
                return _planned("purge", report, plan, clock())
            job = Purge(
                database=database,
                server=server,
                rules=rules,
                cutoffs=settings.cutoffs,
                plan=plan,
                strategy=settings.purge_strategy,
                batch_size=settings.limits.batch_size,
                lock_timeout=settings.limits.lock_timeout,
                pace=pace,
                ledger=Ledger(),
            )
            error = _carried_out(lambda: purge(job), job.ledger)
            report = report.with_warnings(job.warnings)
            for table, locked in job.locked.items():
                report = report.with_table(table, lock_ms_max=int(1000 * locked))
            return _deleted("purge", database, report, plan, job.ledger, clock(), error)


def delete_objects(settings: Settings, pace: Pace) -> Outcome:
    """Delete flow runs, task runs and artifacts through the API.

    Raises:
        MaintenanceError: the deletion could not begin.
    """
    if settings.api is None:
        raise SettingsError("api_url is missing: runs are deleted through the API")
    if not 1 <= settings.limits.batch_size <= BULK_LIMIT:
        raise SettingsError(
            f"batch_size must be between 1 and {BULK_LIMIT}: the API deletes no more at once"
        )
    with _begun(settings) as (database, server, report, clock):
        require_writable(database, server, [table.name for table in TABLES])
        rules = _rules(settings, server)
        with nullcontext() if settings.check else only_runner(database):
            purged = settings.check and "purge" in report.steps
            plan = plan_delete(database, rules, settings.cutoffs, purged=purged)
            if not any(plan.rows.values()) and report.server.get("api_url") == settings.api.url:
                # Nothing goes, and the step before has proved whose database this is.
                return _planned("delete", report, plan, clock())
            from .api import open_api
            from .delete import Delete, delete

            with open_api(settings.api) as api:
                report = _proven(api, database, report, write=not settings.check)
                if settings.check:
                    return _planned("delete", report, plan, clock())
                job = Delete(
                    api=api,
                    database=database,
                    rules=rules,
                    cutoffs=settings.cutoffs,
                    plan=plan,
                    batch_size=settings.limits.batch_size,
                    concurrency=settings.limits.concurrency,
                    pace=pace,
                    ledger=Ledger(),
                )
                error = _carried_out(lambda: delete(job), job.ledger)
            return _deleted("delete", database, report, plan, job.ledger, clock(), error)


def vacuum(settings: Settings, pace: Pace) -> Outcome:
    """Vacuum, and give space back where it pays.

    Raises:
        MaintenanceError: the reclaim could not begin.
    """
    wish = settings.reclaim
    if wish.mode in ("rewrite", "repack"):
        raise SettingsError(f"vacuum {wish.mode} is not available yet; use auto, full or plain")
    with _begun(settings) as (database, server, report, clock):
        if settings.check:
            report = report.with_sizes("after_delete", measure(database))
            for choice in foreseen(database, wish, report.deleted):
                report = report.with_choice(choice, 0.0, None)
            return _vacuumed(report, 0, clock(), None)
        require_writable(database, server, [])
        with only_runner(database):
            before = database_bytes(database)
            report = report.with_sizes("after_delete", measure(database))
            job = Reclaiming(database, wish, report.deleted, pace, Ledger())
            error = _carried_out(lambda: reclaim(job), job.ledger)
            report = report.with_sizes("after", measure(database)).with_warnings(job.warnings)
            for result in job.ledger.results():
                chosen = job.choices.get(result.table)
                report = report.with_choice(chosen, job.locked.get(result.table, 0.0), result)
            after = database_bytes(database)
        report = report.with_bytes_after(after)
        return _vacuumed(report, before - after, clock(), error)


STEPS = {
    "bloat_info": bloat_info,
    "purge": purge_rows,
    "delete": delete_objects,
    "vacuum": vacuum,
}


@contextmanager
def _begun(settings: Settings) -> Iterator[tuple[Database, Server, Report, Any]]:
    """Open the database of a step and start its clock."""
    started = time.monotonic()
    with connect(settings.db_url, settings.limits.lock_timeout) as database:
        server = examine(database)
        report = Report.resume(settings, datetime.now(UTC))
        report = report.with_server(server, database_bytes(database))
        yield database, server, report, lambda: time.monotonic() - started


def _rules(settings: Settings, server: Server) -> Rules:
    own = (settings.own_flow_run,) if settings.own_flow_run else ()
    return Rules(states=settings.policy.states, unfinished=server.unfinished, own=own)


def _with_api(
    settings: Settings, database: Database, report: Report, *, write: bool = False
) -> Report:
    """Prove that API and database belong together, when both are given."""
    if settings.api is None:
        return report
    from .api import open_api

    with open_api(settings.api) as api:
        return _proven(api, database, report, write=write)


def _proven(api: PrefectApi, database: Database, report: Report, *, write: bool) -> Report:
    from .api import prove_same_server

    version = api.version()
    prove_same_server(api, database, write=write)
    return report.with_api(api.url, version, api.vacuum_service())


def _carried_out(work: Callable[[], None], ledger: Ledger) -> MaintenanceError | None:
    """Do the work and return what ended it, so that what was done before is not lost."""
    try:
        work()
        ledger.raise_failures()
    except MaintenanceError as error:
        return error
    return None


def _planned(step: str, report: Report, plan: Plan, seconds: float) -> Outcome:
    """Close a step in check mode."""
    report = report.with_deleted(plan.rows).with_kept(plan.kept)
    for table, rows in plan.rows.items():
        if rows:
            report = report.with_table(table, strategy=f"{step} (planned)")
    report = report.finished(step, seconds)
    answers = {"deleted": dict(plan.rows), "kept": [asdict(kept) for kept in plan.kept]}
    due = {table: rows for table, rows in plan.rows.items() if rows}
    return Outcome(bool(due), report, render(report), answers, due, dict.fromkeys(due, 0))


def _deleted(
    step: str,
    database: Database,
    report: Report,
    plan: Plan,
    ledger: Ledger,
    seconds: float,
    error: MaintenanceError | None,
) -> Outcome:
    """Close a step that deleted rows, or tried to."""
    report = report.with_deleted(ledger.rows).with_kept(plan.kept)
    for result in ledger.results():
        report = report.with_result(result)
    if not isinstance(error, ConnectionFailed):
        report = report.with_bytes_after(database_bytes(database))
    report = report.finished(step, seconds, error)
    answers = {"deleted": dict(ledger.rows), "kept": [asdict(kept) for kept in plan.kept]}
    due = {table: rows for table, rows in plan.rows.items() if rows}
    left = {table: max(0, rows - ledger.rows.get(table, 0)) for table, rows in due.items()}
    changed = any(ledger.rows.values())
    return Outcome(changed, report, render(report), answers, due, left, error)


def _vacuumed(
    report: Report, given_back: int, seconds: float, error: MaintenanceError | None
) -> Outcome:
    """Close the reclaim: it changed something when a rewrite happened or a file shrank."""
    rewritten = any(table.reclaim == "full" for table in report.tables)
    rewritten = rewritten or report.database.get("reclaim") == "full"
    report = report.finished("vacuum", seconds, error)
    answers = {
        "tables": [asdict(table) for table in report.tables],
        "bytes_given_back": max(0, given_back),
    }
    before = {table.name: table.bytes_after_delete or 0 for table in report.tables}
    after = {table.name: table.bytes_after or 0 for table in report.tables}
    return Outcome(rewritten, report, render(report), answers, before, after, error)
