"""Delete flow runs, task runs and artifacts, through the API or by SQL."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING

from ..catalogue import TABLES
from ..errors import SettingsError
from ..execute.api_pace import ApiPace
from ..execute.delete import delete
from ..execute.deletion import Delete
from ..execute.ledger import Ledger
from ..execute.ways import ByApi, BySql, answers
from ..measure.examine import require_writable
from ..pace.pace import Pace
from ..plan import rule_warnings
from ..plan.delete import plan_delete, with_estimates, with_way
from ..plan.plan import Plan
from ..request.instants import now
from ..request.options.limits import BULK_LIMIT
from ..request.settings import Settings
from .allowed import require_allowed
from .outcome import Outcome, deleted
from .session import Session, begun
from .stuck import end_stuck, find_stuck

if TYPE_CHECKING:
    from ..server.api import PrefectApi

# The first Prefect whose API deletes runs under a guard.
_GUARDED = (3, 6, 16)


def delete_objects(settings: Settings, pace: Pace) -> Outcome:
    """Delete flow runs, task runs and artifacts, through the API or by SQL.

    Raises:
        MaintenanceError: the deletion could not begin.
    """
    if settings.run_delete_via == "api" and settings.api is None:
        raise SettingsError("api_url is missing: runs are deleted through the API")
    if settings.run_delete_via == "api" and settings.limits.batch_size > BULK_LIMIT:
        raise SettingsError(
            f"batch_size must be between 1 and {BULK_LIMIT}: the API deletes no more at once"
        )
    if settings.stuck and settings.api is None:
        raise SettingsError("api_url is missing: stuck runs are ended through the API")
    with begun("delete", settings, pace) as session:
        database = session.database
        require_writable(database, session.server, "delete", [table.name for table in TABLES])
        session.note_scarce_disk()
        with session.at_work():
            purged = settings.check and "purge" in session.report.steps
            plan = plan_delete(
                database, session.staged_rules, settings.cutoffs, purged=purged, tell=pace.events
            )
            told = rule_warnings.of_runs(database, session.rules.runs, plan.rules)
            session.report = session.report.with_warnings(told).with_holds(session.held)
            nothing = not any(plan.rows.values()) and not settings.stuck
            if nothing and session.proven:
                # Nothing goes, and the step before has proved whose database this is.
                plan = _decided(session, plan, None)
                require_allowed(session, plan)
                return session.planned(plan)
            with session.opened_api() as api:
                if api is not None:
                    session.prove_with(api)
                plan = _decided(session, plan, api)
                stuck, of_late = find_stuck(session, api)
                whole = plan.joined(of_late)
                require_allowed(session, whole)
                if settings.check:
                    return session.planned(whole)
                by_api = _by_api(session, plan, api)

                def work(ledger: Ledger) -> None:
                    rules = end_stuck(session, api, stuck, ledger)
                    by_sql, cutoffs = BySql(database, rules), settings.cutoffs
                    delete(Delete(by_sql, by_api, database, rules, cutoffs, plan, pace, ledger))

                ledger, error = session.carry_out(work, watch_api=by_api is None or bool(stuck))
            session.measure_left(error)
            report = session.report
            seconds, also = session.seconds, bool(session.removed)
            return deleted("delete", database, report, whole, ledger, seconds, error, also=also)


def _decided(session: Session, plan: Plan, api: PrefectApi | None) -> Plan:
    """Complete a plan by the way in which flow runs go and by its estimates, and report it."""
    settings, version = session.settings, str(session.report.server.get("version", ""))
    plan = with_way(
        session.database,
        session.staged_rules,
        plan,
        settings.run_delete_via,
        settings.api_budget,
        given=api is not None,
        guarded=tuple(map(int, re.findall(r"\d+", version)[:3])) >= _GUARDED,
    )
    plan = session.with_pages(with_estimates(session.database, plan))
    session.require_room(plan)
    session.report = session.report.with_plan(plan)
    return plan


def _by_api(session: Session, plan: Plan, api: PrefectApi | None) -> ByApi | None:
    if api is None or plan.via is None or not plan.via.through_api:
        return None
    settings = session.settings
    auto = settings.run_delete_via == "auto"
    return ByApi(
        api=api,
        database=session.database,
        rules=session.staged_rules,
        cutoff=settings.cutoffs.flow_runs,
        begun=now(),
        gives_way=auto,
        pace=ApiPace(
            read=partial(answers, api),
            most=min(settings.limits.batch_size, BULK_LIMIT),
            budget=settings.api_budget if auto else math.inf,
        ),
    )
