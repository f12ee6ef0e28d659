"""Delete flow runs, task runs and artifacts, through the API or by SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..catalogue import TABLES
from ..errors import SettingsError
from ..execute.delete import Delete, delete
from ..execute.ways import ByApi, BySql
from ..measure.examine import require_writable
from ..pace.pace import Pace
from ..plan.delete import plan_delete, with_estimates
from ..request.options.work import BULK_LIMIT
from ..request.settings import Settings
from .outcome import Outcome, deleted, planned
from .session import Session, begun

if TYPE_CHECKING:
    from ..server.api import PrefectApi


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
    with begun("delete", settings, pace) as session:
        database = session.database
        require_writable(database, session.server, "delete", [table.name for table in TABLES])
        session.note_scarce_disk()
        with session.at_work():
            purged = settings.check and "purge" in session.report.steps
            plan = plan_delete(
                database, session.rules, settings.cutoffs, purged=purged, tell=pace.events
            )
            plan = with_estimates(database, plan, through_api=settings.run_delete_via == "api")
            plan = session.with_pages(plan)
            session.require_room(plan)
            session.report = session.report.with_plan(plan)
            if not any(plan.rows.values()) and session.proven:
                # Nothing goes, and the step before has proved whose database this is.
                return planned("delete", session.report, plan, session.seconds)
            with session.opened_api() as api:
                if api is not None:
                    session.prove_with(api)
                if settings.check:
                    return planned("delete", session.report, plan, session.seconds)
                ledger, error = session.carry_out(
                    lambda ledger: delete(
                        Delete(
                            BySql(database, session.rules),
                            _by_api(session, api),
                            database,
                            session.rules,
                            settings.cutoffs,
                            plan,
                            pace,
                            ledger,
                        )
                    )
                )
            session.measure_left(error)
            report = session.report
            return deleted("delete", database, report, plan, ledger, session.seconds, error)


def _by_api(session: Session, api: PrefectApi | None) -> ByApi | None:
    settings = session.settings
    if settings.run_delete_via != "api" or api is None:
        return None
    return ByApi(
        api=api,
        database=session.database,
        rules=session.rules,
        cutoff=settings.cutoffs.flow_runs,
        batch_size=settings.limits.batch_size,
    )
