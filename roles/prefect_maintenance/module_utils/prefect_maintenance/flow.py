"""The other door: the maintenance as a Prefect flow, whose tasks are the engine's steps.

What it must not tell anybody stands in a file that only its user can read; parameters, logs and
artifacts can be read by whoever reaches the API.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.utilities.callables import parameter_schema as schema_of
from pydantic import Field

from .database.alive import sign_of_life
from .errors import MaintenanceError, SettingsError
from .flow_form import Days, EventRules, LogRules, Retention, RunRules, Window, within
from .flow_shown import Shown
from .report.markdown import markdown
from .report.plain import failed
from .request.run_name import RUN_NAME, fill_in
from .run.line import LINE, announced, carry_out
from .run.line import batch_size as batch_of

# Where the environment of a run names the file with the credentials, the stop file, the file with
# other thresholds, the folder for the metrics, and the server as the inventory does.
CREDENTIALS = "PREFECT_MAINTENANCE_CREDENTIALS"
STOP_FILE = "PREFECT_MAINTENANCE_STOP_FILE"
LIMITS_FILE = "PREFECT_MAINTENANCE_LIMITS_FILE"
TEXTFILE_DIR = "PREFECT_MAINTENANCE_TEXTFILE_DIR"
HOST = "PREFECT_MAINTENANCE_HOST"

_NAMES = ("db_url", "api_url", "api_auth_string", "api_key", "api_headers", "api_ca_cert",
          "api_validate_certs")  # fmt: skip


def run_name() -> str:
    """Return the name of this run, from the template that the deployment's environment gives."""
    template = os.environ.get(RUN_NAME) or "maintenance-{date}"
    now = datetime.now(UTC)
    values = {"date": f"{now:%Y-%m-%d}", "time": f"{now:%H:%M}", "host": socket.gethostname()}
    try:
        return fill_in(template, values)
    except SettingsError:
        # Installed before templates were checked; it must not end every run before it begins.
        return template


@flow(name="prefect-maintenance", flow_run_name=run_name, validate_parameters=True)
def maintenance(
    retention_days: Days = 15,
    retention: Retention = Retention(),  # noqa: B008  immutable in use; the form shows its fields
    states: Annotated[
        list[Literal["COMPLETED", "FAILED", "CANCELLED", "CRASHED"]], Field(min_length=1)
    ] = ["COMPLETED", "FAILED", "CANCELLED"],  # noqa: B006  Prefect copies defaults
    rules: RunRules = [],  # noqa: B006
    event_rules: EventRules = [],  # noqa: B006
    log_rules: LogRules = [],  # noqa: B006
    hold_tags: list[str] = ["keep", "keep-until:*", "hold:*"],  # noqa: B006
    stuck: dict[str, Days] = {},  # noqa: B006
    max_rows: Annotated[int, within("max_rows")] = 0,
    archive_dir: str | None = None,
    archive_days: Annotated[int, within("archive_days")] = 0,
    purge_strategy: Literal["auto", "delete", "rewrite"] = "auto",
    run_delete_via: Literal["auto", "api", "sql"] = "auto",
    api_budget: Annotated[int, within("api_budget")] = 600,
    vacuum: Literal["auto", "none", "plain", "full", "rewrite", "compact", "repack"] = "auto",
    vacuum_min_bytes: Annotated[int, within("vacuum_min_bytes")] = 104857600,
    vacuum_min_percent: Annotated[int, within("vacuum_min_percent")] = 20,
    tune_autovacuum: bool = False,
    batch_size: Annotated[int, within("batch_size")] = 20000,
    lock_timeout: Annotated[float, Field(gt=0, lt=86400)] = 5.0,
    max_lock: Annotated[float, Field(gt=0, lt=86400)] = 1.0,
    throttle: dict[str, Any] = {},  # noqa: B006  Prefect copies defaults
    windows: list[Window] = [],  # noqa: B006  Prefect copies defaults
    db_free_bytes: Annotated[int, within("db_free_bytes")] = 0,
    max_runtime: Annotated[int, within("max_runtime")] = 0,
    per_cluster: Annotated[int, within("per_cluster")] = 1,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Delete what is older than the policy, and give the space back.

    It ends with an artifact that says what went, what was kept and why, and the sizes before and
    after. The form in the UI shows what is said here of each parameter. A saved plan is no
    parameter: it is a file on the controller, which the role applies.

    Args:
        retention_days: Days for which everything is kept.
        retention: Days per entity, where they differ.
        states: Terminal states whose flow runs may go.
        rules: Retention of flow runs by deployment, flow, tag, work pool and state.
        event_rules: Retention of events by type and resource, where it differs.
        log_rules: Retention of logs by level and logger, where it differs.
        hold_tags: Tags of a run or of its deployment that keep the run whatever its age.
        stuck: Days after which an unfinished run without a sign of life is ended, by its state.
        max_rows: Refuse a plan that deletes more rows than this; 0 is no limit.
        archive_dir: Folder on the target where rows are written, and verified, before they go.
        archive_days: Days for which archives are kept in archive_dir; 0 keeps them for good.
        purge_strategy: How logs and events go; auto takes for each table whichever way costs less.
        run_delete_via: Whether runs and artifacts are deleted by the server or in the database.
        api_budget: Seconds that run_delete_via=auto may spend on the API; the rest goes by SQL.
        vacuum: How space is given back; auto rewrites the tables that pass both thresholds.
        vacuum_min_bytes: A table is rewritten only when at least so many bytes come back.
        vacuum_min_percent: A table is rewritten only when at least so many percent come back.
        tune_autovacuum: Whether autovacuum settings that keep purged tables small are set on them.
        batch_size: Rows in one transaction.
        lock_timeout: Seconds to wait for a lock in the database before giving up.
        max_lock: Seconds for which a table may be locked against readers or writers at a time.
        throttle: Thresholds at which the work waits for the server; others keep their default.
        windows: When work may go on: cron, duration, timezone and kind; without any, always.
        db_free_bytes: Bytes free on the disk of a database that nobody can look at; 0 is unknown.
        max_runtime: Seconds after which a step stops between two batches and fails; 0 is no limit.
        per_cluster: Databases of one PostgreSQL cluster worked on at a time; 0 is no limit.
        dry_run: Only say what would go; nothing is changed.

    Returns:
        The report.

    Raises:
        MaintenanceError: a step failed; the artifact says how far it came.
    """
    asked: dict[str, Any] = {
        "retention_days": retention_days,
        "retention": retention.model_dump(exclude_none=True),
        "states": list(states),
        "rules": rules,
        "event_rules": event_rules,
        "log_rules": log_rules,
        "hold_tags": hold_tags,
        "stuck": stuck,
        "max_rows": max_rows,
        "archive_dir": archive_dir,
        "archive_days": archive_days,
        "purge_strategy": purge_strategy,
        "run_delete_via": run_delete_via,
        "api_budget": api_budget,
        "vacuum": vacuum,
        "vacuum_min_bytes": vacuum_min_bytes,
        "vacuum_min_percent": vacuum_min_percent,
        "tune_autovacuum": tune_autovacuum,
        "batch_size": batch_size,
        "lock_timeout": lock_timeout,
        "max_lock": max_lock,
        "db_free_bytes": db_free_bytes,
        "throttle": throttle,
        "windows": [window.model_dump() for window in windows],
        "max_runtime": max_runtime,
        "per_cluster": per_cluster,
    }
    held = read_credentials()
    # Both doors name the server alike, or a monitor would take it for two.
    report: dict[str, Any] = {"host": os.environ.get(HOST) or socket.gethostname()}
    shown = Shown(len(_STEPS))
    try:
        with sign_of_life(held.get("db_url")):
            for number, (name, step) in enumerate(_STEPS.items()):
                shown.begin(number, name)
                report, failure = step(asked, report, dry_run=dry_run, shown=shown)
                if failure:
                    raise MaintenanceError(failure)
        shown.done()
    except MaintenanceError:
        raise  # The report says so already.
    except BaseException as error:
        why = f"ended by {type(error).__name__}; what it did until then is not counted here"
        report = failed(report, f"{shown.step}: {why}")
        raise
    finally:
        if report.get("database"):
            create_markdown_artifact(
                markdown=markdown(report),
                key="prefect-maintenance",
                description="What the maintenance did",
            )
    return report


def read_credentials() -> dict[str, Any]:
    """Read the file with the credentials that the run's environment names.

    Raises:
        SettingsError: there is none, it is not JSON, or others may read it.
    """
    named = os.environ.get(CREDENTIALS)
    if not named:
        raise SettingsError(
            f"the environment of this run has no {CREDENTIALS}; install the deployment again"
        )
    path = Path(named)
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SettingsError(
                f"{path} can be read by others (mode {stat.S_IMODE(mode):o}); chmod 600 it"
            )
        held = json.loads(path.read_text())
    except OSError as error:
        raise SettingsError(
            f"the credentials in {path} cannot be read: {error.strerror}; "
            "install the deployment again"
        ) from None
    except ValueError:
        raise SettingsError(f"{path} is not JSON; install the deployment again") from None
    return {name: held[name] for name in _NAMES if held.get(name) not in (None, "", {})}


def _as_task(step: str, name: str) -> Any:
    @task(name=name, task_run_name=name, persist_result=False)
    def carry_out_step(
        asked: Mapping[str, Any], report: dict[str, Any], *, dry_run: bool, shown: Shown
    ) -> tuple[dict[str, Any], str | None]:
        """Carry out a step; returns the report continued, and why it failed."""
        logger = get_run_logger()
        more = {
            "batch_size": batch_of(step, asked["batch_size"]),
            "before": announced(step, asked["vacuum"]),
            "stop_file": os.environ.get(STOP_FILE),
            "limits_file": os.environ.get(LIMITS_FILE),
            "textfile_dir": os.environ.get(TEXTFILE_DIR),
            "report": report,
        }
        request = {**asked, **read_credentials(), **more}
        shown.after(report)
        done = carry_out(step, request, check=dry_run, listener=shown)
        if done.fault:
            logger.error("%s", done.fault)
        for warning in done.warnings:
            logger.warning("%s", warning)
        for line in done.summary[-1:]:
            logger.info("%s", line.strip())
        return done.report, done.failure

    return carry_out_step


_STEPS = {name: _as_task(step, name) for step, name in LINE.items()}


def parameter_schema() -> dict[str, Any]:
    """Return the schema of the parameters, from which the UI makes its form.

    With it the server refuses a run that is given another parameter, such as a saved plan.
    """
    schema: dict[str, Any] = schema_of(maintenance).model_dump_for_openapi()
    return {**schema, "additionalProperties": False}
