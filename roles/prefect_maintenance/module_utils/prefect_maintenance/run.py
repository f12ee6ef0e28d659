"""The four verbs behind both doors: inspect, purge, delete, reclaim.

Each opens what it needs, makes sure that it is at the right place, does its part, and returns
the report continued. What ends a step after it has begun is part of its outcome, so that
nothing that was done is lost; what keeps it from beginning is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .catalogue import BY_NAME, TABLES
from .database import privileges
from .database.clock import require_sound
from .database.connection import Database, connect, only_runner
from .database.visibility import blind_spots
from .errors import ConnectionFailed, MaintenanceError, SettingsError, Unsupported
from .execute import repack
from .execute.delete import Delete, delete
from .execute.ledger import Ledger
from .execute.purge import Purge, decisions, purge
from .execute.reclaim import Reclaiming, foreseen, reclaim
from .execute.ways import ByApi, BySql
from .measure import disk_space, leftovers
from .measure.sizes import Server, database_bytes, examine, growth, measure, require_writable
from .pace.cluster import place_in_cluster
from .pace.pace import Pace, Progress
from .plan.choices import REWRITING, Choice
from .plan.due import oldest_due
from .plan.plan import AGED, Plan, plan_delete, plan_purge
from .plan.queries import Rules
from .report.report import Report
from .report.text import render, render_sizes
from .request.instants import now
from .request.options.work import BULK_LIMIT
from .request.settings import Settings

if TYPE_CHECKING:
    from .server.api import PrefectApi


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
        PrivilegeError: the role lacks a privilege for one of the steps that are to follow.
        MaintenanceError: the database cannot be measured, or it is not the API's.
    """
    with _begun(settings) as (database, server, report, clock):
        report = _with_api(settings, database, report)
        report = report.with_sizes("before", measure(database))
        report = report.with_due(oldest_due(database, _rules(settings, server), settings.cutoffs))
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
                "oldest_due": t.oldest_due,
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
        require_writable(
            database, server, "purge", [*AGED, "artifact_collection", *server.unforced]
        )
        report = report.with_warnings(disk_space.scarce(database))
        rules = _rules(settings, server)
        with _at_work(settings, database, pace) as left:
            report = report.with_warnings(left)
            report = _with_api(settings, database, report, write=not settings.check)
            plan = plan_purge(database, rules, settings.cutoffs, set(server.unforced))
            decided = decisions(database, plan, settings.purge_strategy, settings.reclaim)
            for decision in decided.values():
                report = report.with_decision(decision)
                if decision.strategy != settings.purge_strategy != "auto":
                    report = report.with_warnings([f"{decision.table}: {decision.why}"])
            if settings.check:
                strategies = {table: decision.strategy for table, decision in decided.items()}
                return _planned("purge", report, plan, clock(), strategies)
            job = Purge(
                database=database,
                server=server,
                rules=rules,
                cutoffs=settings.cutoffs,
                plan=plan,
                decisions=decided,
                batch_size=settings.limits.batch_size,
                lock_timeout=settings.limits.lock_timeout,
                pace=pace,
                ledger=Ledger(database.wal_bytes),
            )
            error = _carried_out(lambda: purge(job), job.ledger)
            report = report.with_warnings(job.warnings)
            for table, done in job.rewritten.items():
                locked = int(1000 * done.locked)
                report = report.with_table(table, extra_bytes=done.copied, lock_ms_max=locked)
            for table, decision in decided.items():
                if decision.strategy == "rewrite" and table not in job.rewritten:
                    told = f"{decision.why}; but it could not be rewritten"
                    report = report.with_table(table, strategy_why=told)
            report = _left(database, rules, settings, report, error)
            return _deleted("purge", database, report, plan, job.ledger, clock(), error)


def delete_objects(settings: Settings, pace: Pace) -> Outcome:
    """Delete flow runs, task runs and artifacts, through the API or by SQL.

    Raises:
        MaintenanceError: the deletion could not begin.
    """
    by_api = settings.run_delete_via == "api"
    if by_api and settings.api is None:
        raise SettingsError("api_url is missing: runs are deleted through the API")
    if by_api and not 1 <= settings.limits.batch_size <= BULK_LIMIT:
        raise SettingsError(
            f"batch_size must be between 1 and {BULK_LIMIT}: the API deletes no more at once"
        )
    with _begun(settings) as (database, server, report, clock):
        require_writable(database, server, "delete", [table.name for table in TABLES])
        report = report.with_warnings(disk_space.scarce(database))
        rules = _rules(settings, server)
        with _at_work(settings, database, pace) as left:
            report = report.with_warnings(left)
            purged = settings.check and "purge" in report.steps
            plan = plan_delete(database, rules, settings.cutoffs, purged=purged)
            proven = settings.api is not None and report.server.get("api_url") == settings.api.url
            if not any(plan.rows.values()) and proven:
                # Nothing goes, and the step before has proved whose database this is.
                return _planned("delete", report, plan, clock())
            with _opened(settings) as api:
                if api is not None:
                    report = _proven(api, database, report, write=not settings.check)
                if settings.check:
                    return _planned("delete", report, plan, clock())
                ledger = Ledger(database.wal_bytes)
                job = _deletion(settings, database, rules, plan, api, pace, ledger)
                error = _carried_out(lambda: delete(job), ledger)
            report = report.with_warnings(job.warnings)
            for table, why in job.why.items():
                report = report.with_table(table, strategy_why=why)
            report = _left(database, rules, settings, report, error)
            return _deleted("delete", database, report, plan, ledger, clock(), error)


def _deletion(
    settings: Settings,
    database: Database,
    rules: Rules,
    plan: Plan,
    api: PrefectApi | None,
    pace: Pace,
    ledger: Ledger,
) -> Delete:
    by_api = None
    if settings.run_delete_via == "api" and api is not None:
        by_api = ByApi(
            api=api,
            database=database,
            rules=rules,
            cutoff=settings.cutoffs.flow_runs,
            batch_size=settings.limits.batch_size,
        )
    return Delete(
        BySql(database, rules), by_api, database, rules, settings.cutoffs, plan, pace, ledger
    )


@contextmanager
def _opened(settings: Settings) -> Iterator[PrefectApi | None]:
    """Open the API where one is given."""
    if settings.api is None:
        yield None
        return
    # Prefect takes longer to import than most steps do without it.
    from .server.api import open_api

    with open_api(settings.api) as api:
        yield api


def vacuum(settings: Settings, pace: Pace) -> Outcome:
    """Vacuum, and give space back where it pays.

    Raises:
        MaintenanceError: the reclaim could not begin.
    """
    wanted = settings.reclaim
    with _begun(settings) as (database, server, report, clock):
        if wanted.mode == "repack":
            repack.require(database)
        rewritten = {t.name: t.ways["rewrite"] for t in report.tables if "rewrite" in t.ways}
        if settings.check:
            report = report.with_sizes("after_delete", measure(database))
            choices = foreseen(database, wanted, report.deleted, rewritten)
            return _vacuumed(report, choices, 0, clock(), None)
        require_writable(database, server, "vacuum", [])
        with _at_work(settings, database, pace) as left:
            report = report.with_warnings(left)
            before = database_bytes(database)
            report = report.with_sizes("after_delete", measure(database))
            job = Reclaiming(
                database=database,
                wanted=wanted,
                deleted=report.deleted,
                rewritten=rewritten,
                lock_timeout=settings.limits.lock_timeout,
                pace=pace,
                ledger=Ledger(database.wal_bytes),
            )
            error = _carried_out(lambda: reclaim(job), job.ledger)
            report, given_back = report.with_warnings(job.warnings), 0
            if not isinstance(error, ConnectionFailed):
                after = database_bytes(database)
                given_back = before - after
                report = report.with_sizes("after", measure(database)).with_bytes_after(after)
                rules = _rules(settings, server)
                report = report.with_due(oldest_due(database, rules, settings.cutoffs))
            for result in job.ledger.results():
                table = result.table
                report = report.with_reclaimed(
                    result, job.extra.get(table, 0), job.locked.get(table, 0.0)
                )
        return _vacuumed(report, job.choices.values(), given_back, clock(), error)


def provide_role(settings: Settings, pace: Pace) -> Outcome:
    """Make a role for the maintenance and give it what it lacks; `db_url` is the owner's.

    Raises:
        MaintenanceError: the database has no roles, or they may not be made.
    """
    wanted = settings.role
    if wanted is None:
        raise SettingsError("role is missing: the name of the role in the database")
    with _begun(settings) as (database, _server, report, clock):
        if not database.is_postgresql:
            raise Unsupported("SQLite has no roles; run as the user that owns the file")
        done = privileges.provide(
            database, wanted.name, wanted.password, own=wanted.own, check=settings.check
        )
        report = report.with_warnings(done.warnings).finished("role", clock())
    answers = {"statements": list(done.statements)}
    return Outcome(bool(done.statements), report, list(done.statements), answers, {}, {})


STEPS = {
    "role": provide_role,
    "bloat_info": bloat_info,
    "purge": purge_rows,
    "delete": delete_objects,
    "vacuum": vacuum,
}


@contextmanager
def _at_work(settings: Settings, database: Database, pace: Pace) -> Iterator[list[str]]:
    """Be the only runner on the database, at a place in its cluster; a check needs neither.

    What a killed run left is removed first; yields why something had to stay.

    Raises:
        Busy: another run is at work on the database.
        Stopped: somebody had asked to stop, or the wait for a place took too long.
    """
    if settings.check:
        yield []
        return
    pace(Progress("the beginning", 0, None))
    with only_runner(database), place_in_cluster(database, settings.limits.per_cluster, pace):
        yield leftovers.remove_all(database, settings.limits.lock_timeout)


@contextmanager
def _begun(settings: Settings) -> Iterator[tuple[Database, Server, Report, Any]]:
    """Open the database of a step and start its clock.

    Raises:
        PrivilegeError: the role lacks a privilege for one of the steps that are to follow.
        SettingsError: the reference time lies in the future.
        MaintenanceError: the database cannot be reached, is none that the tool knows, or its
            clock is far from this machine's.
    """
    started = time.monotonic()
    with connect(settings.db_url, settings.limits.lock_timeout) as database:
        if settings.before and database.is_postgresql:
            needed = privileges.missing_privileges(database, ("measure", *settings.before))
            privileges.refuse(database, needed)
        server = examine(database)
        require_sound(database, settings.cutoffs.reference)
        report = Report.resume(settings, now())
        report = report.with_server(server, database_bytes(database))
        if settings.before and database.is_postgresql:
            report = report.with_warnings(blind_spots(database))
        yield database, server, report, lambda: time.monotonic() - started


def _rules(settings: Settings, server: Server) -> Rules:
    own = (settings.own_flow_run,) if settings.own_flow_run else ()
    return Rules(states=settings.policy.states, unfinished=server.unfinished, own=own)


def _with_api(
    settings: Settings, database: Database, report: Report, *, write: bool = False
) -> Report:
    """Prove that API and database belong together, when both are given."""
    with _opened(settings) as api:
        return report if api is None else _proven(api, database, report, write=write)


def _proven(api: PrefectApi, database: Database, report: Report, *, write: bool) -> Report:
    # Prefect takes longer to import than most steps do without it.
    from .server.api import prove_same_server

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


def _planned(
    step: str,
    report: Report,
    plan: Plan,
    seconds: float,
    strategies: Mapping[str, str] | None = None,
) -> Outcome:
    """Close a step in check mode."""
    report = report.with_deleted(plan.rows).with_kept(plan.kept)
    for table, rows in plan.rows.items():
        if rows:
            hangs = step == "delete" and BY_NAME[table].deleted_by != "api"
            way = (strategies or {}).get(table, "cascade" if hangs else step)
            # A rewrite keeps what its age alone would keep; orphans are deleted after it.
            orphaned = plan.orphaned.get(table, 0) if way == "rewrite" else 0
            report = report.with_ways(table, {way: rows - orphaned})
            report = report.with_ways(table, {"delete": orphaned})
    report = report.finished(step, seconds)
    answers = {"deleted": dict(plan.rows), "kept": [asdict(kept) for kept in plan.kept]}
    due = {table: rows for table, rows in plan.rows.items() if rows}
    return Outcome(bool(due), report, render(report), answers, due, dict.fromkeys(due, 0))


def _left(
    database: Database,
    rules: Rules,
    settings: Settings,
    report: Report,
    error: MaintenanceError | None,
) -> Report:
    """Measure what a failed step leaves, because no step comes after it that would."""
    if error is None or isinstance(error, ConnectionFailed):
        return report
    try:
        report = report.with_sizes("after_delete", measure(database))
        return report.with_due(oldest_due(database, rules, settings.cutoffs))
    except MaintenanceError as failed:
        return report.with_warnings([f"the sizes are those of before the step: {failed}"])


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
    report: Report,
    choices: Iterable[Choice],
    given_back: int,
    seconds: float,
    error: MaintenanceError | None,
) -> Outcome:
    """Close the reclaim: it changed something when a table or a file was rewritten."""
    changed = False
    for choice in choices:
        report = report.with_choice(choice)
        changed |= choice.action in REWRITING
    report = report.finished("vacuum", seconds, error)
    answers = {
        "tables": [asdict(table) for table in report.tables],
        "bytes_given_back": max(0, given_back),
    }
    before = {table.name: table.bytes_after_delete or 0 for table in report.tables}
    after = {table.name: table.bytes_after or 0 for table in report.tables}
    return Outcome(changed, report, render(report), answers, before, after, error)
