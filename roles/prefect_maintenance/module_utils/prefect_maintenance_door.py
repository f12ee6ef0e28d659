"""The Ansible door: a module's options in, one engine call, its result or failure out."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import missing_required_lib

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def answer(module: AnsibleModule, step: str) -> None:
    """Carry out a step of the engine for a module, and exit or fail with its result.

    A failure is one line; what was done until then stands in the result beside it.
    """
    try:
        from ansible.module_utils.prefect_maintenance import steps
        from ansible.module_utils.prefect_maintenance.errors import MaintenanceError
        from ansible.module_utils.prefect_maintenance.pace import Pace, unread
        from ansible.module_utils.prefect_maintenance.settings import Settings
    except ImportError as error:
        module.fail_json(
            msg=missing_required_lib(error.name or "sqlalchemy"), exception=traceback.format_exc()
        )
    report = module.params.get("report") or {}
    try:
        settings = Settings.parse(module.params, check=module.check_mode)
    except MaintenanceError as error:
        module.fail_json(msg=str(error), changed=False, report=report, summary=[])
    module.no_log_values.update(settings.secrets())
    limits = settings.limits
    pace = Pace(
        max_runtime=limits.max_runtime,
        stop_file=limits.stop_file,
        alone=lambda: unread(sys.__stdout__.fileno()) if sys.__stdout__ else False,
    )
    try:
        with pace.heeding_signals():
            outcome = steps.STEPS[step](settings, pace)
    except MaintenanceError as error:
        failed = {**report, "status": _status(report), "errors": [f"{step}: {error}"]}
        module.fail_json(msg=str(error), changed=False, report=failed, summary=[])
    result: dict[str, Any] = {
        "changed": outcome.changed,
        "report": outcome.report.as_json(),
        "summary": outcome.summary,
        **outcome.answers,
    }
    if module._diff:
        result["diff"] = {"before": outcome.before, "after": outcome.after}
    for warning in outcome.report.warnings:
        if warning not in report.get("warnings", ()):
            module.warn(warning)
    if outcome.error:
        module.fail_json(msg=str(outcome.error), **result)
    module.exit_json(**result)


def change(module: AnsibleModule, what: str) -> None:
    """Make sure of a work pool or a deployment for a module, and exit or fail with the result."""
    try:
        from ansible.module_utils.prefect_maintenance import scheduling
        from ansible.module_utils.prefect_maintenance.errors import MaintenanceError
    except ImportError as error:
        module.fail_json(
            msg=missing_required_lib(error.name or "prefect"), exception=traceback.format_exc()
        )
    try:
        done = scheduling.CHANGES[what](module.params, check=module.check_mode)
    except MaintenanceError as error:
        module.fail_json(msg=str(error), changed=False)
    result: dict[str, Any] = {"changed": done.changed, **done.answers}
    if module._diff:
        result["diff"] = {"before": dict(done.before), "after": dict(done.after)}
    for warning in done.warnings:
        module.warn(warning)
    module.exit_json(**result)


def _status(report: dict[str, Any]) -> str:
    """Tell a run that failed before it deleted anything from one that got half-way."""
    deleted = any(report.get("deleted", {}).values()) and not report.get("check_mode")
    return "partial" if deleted else "failed"
