"""The Ansible door: a module's options in, one engine call, its result or failure out."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import missing_required_lib

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible.module_utils.prefect_maintenance.request.masking import Mask

# What Ansible itself writes in the place of such an option.
_NOT_SHOWN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def answer(module: AnsibleModule, step: str) -> None:
    """Carry out a step of the engine for a module, and exit or fail with its result.

    A failure is one line; what was done until then stands in the result beside it.
    """
    try:
        from ansible.module_utils.prefect_maintenance import run
        from ansible.module_utils.prefect_maintenance.errors import MaintenanceError
        from ansible.module_utils.prefect_maintenance.pace.pace import Pace, unread
        from ansible.module_utils.prefect_maintenance.report.report import failed
        from ansible.module_utils.prefect_maintenance.request.masking import Mask
        from ansible.module_utils.prefect_maintenance.request.secrets import secrets_of
        from ansible.module_utils.prefect_maintenance.request.settings import Settings
    except ImportError as error:
        module.fail_json(
            msg=missing_required_lib(error.name or "sqlalchemy"), exception=traceback.format_exc()
        )
    report: dict[str, Any] = module.params.get("report") or {}
    secrets = _silence(module)
    try:
        settings = Settings.parse(module.params, check=module.check_mode)
    except MaintenanceError as error:
        told = {"report": failed(report, f"{step}: {error}"), "summary": []}
        _end(module, Mask.of(secrets), str(error), changed=False, **told)
    mask = Mask.of({*secrets, *secrets_of(settings)})
    limits = settings.limits
    pace = Pace(
        max_runtime=limits.max_runtime,
        stop_file=limits.stop_file,
        abandoned=lambda: unread(sys.__stdout__.fileno()) if sys.__stdout__ else False,
    )
    try:
        with pace.heeding_signals():
            outcome = run.STEPS[step](settings, pace)
    except MaintenanceError as error:
        told = {"report": failed(report, f"{step}: {error}"), "summary": []}
        _end(module, mask, str(error), changed=False, **told)
    except Exception as error:
        # A fault of this tool: its text and its traceback may quote anything.
        fault = f"{type(error).__name__}: {' '.join(str(error).split())}; report this fault"
        told = {"report": failed(report, f"{step}: {fault}"), "summary": []}
        _end(module, mask, fault, changed=False, exception=traceback.format_exc(), **told)
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
            module.warn(mask.text(warning))
    _end(module, mask, str(outcome.error) if outcome.error else None, **result)


def change(module: AnsibleModule, what: str) -> None:
    """Make sure of a work pool or a deployment for a module, and exit or fail with the result."""
    try:
        from ansible.module_utils.prefect_maintenance import schedule
        from ansible.module_utils.prefect_maintenance.errors import MaintenanceError
        from ansible.module_utils.prefect_maintenance.request.masking import Mask
    except ImportError as error:
        module.fail_json(
            msg=missing_required_lib(error.name or "prefect"), exception=traceback.format_exc()
        )
    mask = Mask.of(_silence(module))
    try:
        done = schedule.CHANGES[what](module.params, check=module.check_mode)
    except MaintenanceError as error:
        _end(module, mask, str(error), changed=False)
    result: dict[str, Any] = {"changed": done.changed, **done.answers}
    if module._diff:
        result["diff"] = {"before": dict(done.before), "after": dict(done.after)}
    for warning in done.warnings:
        module.warn(mask.text(warning))
    _end(module, mask, None, **result)


def _silence(module: AnsibleModule) -> set[str]:
    """Take over from AnsibleModule what must not be shown; returns it.

    It would replace each secret wherever its text occurs in the result, so that a password of
    `postgres` or a header of `1` would break the report that the next step is given.
    """
    # A header such as Host repeats what the address shows.
    address = str(module.params.get("api_url") or "")
    secrets = {str(value) for value in module.no_log_values if str(value) not in address}
    module.no_log_values.clear()
    return secrets


def _end(module: AnsibleModule, mask: Mask, failure: str | None, **result: Any) -> None:
    """Exit, or fail, with a result whose sentences and invocation hold no secret."""
    told = mask.sentences({**result, "invocation": {"module_args": _arguments(module)}})
    if failure is None:
        module.exit_json(**told)
    module.fail_json(msg=mask.text(failure), **told)


def _arguments(module: AnsibleModule) -> dict[str, Any]:
    """Return the options as they may be shown, which Ansible does at its third verbosity."""
    from ansible.module_utils.prefect_maintenance.errors import SettingsError
    from ansible.module_utils.prefect_maintenance.request.api_address import check_api_url

    shown = dict(module.params)
    try:
        check_api_url(str(shown.get("api_url") or "http://localhost"))
    except SettingsError:
        shown["api_url"] = _NOT_SHOWN
    for option, rules in module.argument_spec.items():
        if rules.get("no_log") and shown.get(option) is not None:
            shown[option] = _NOT_SHOWN
    return shown
