"""The Ansible door: a module's options in, one engine call, its result or failure out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.prefect_maintenance_background import ALIVE, go_on, told

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible.module_utils.prefect_maintenance.pace.governors import Governor
    from ansible.module_utils.prefect_maintenance.pace.heartbeat import Heartbeat
    from ansible.module_utils.prefect_maintenance.request.masking import Mask

# What Ansible itself writes in the place of such an option.
_NOT_SHOWN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def answer(module: AnsibleModule, step: str) -> None:
    """Carry out a step of the engine for a module, and exit or fail with its result.

    A failure is one line; what was done until then stands in the result beside it.
    """
    background = module.params.pop("background", None) or {}
    followed = _followed(background) if background else None
    try:
        from ansible.module_utils.prefect_maintenance.pace.parent import Parent
        from ansible.module_utils.prefect_maintenance.pace.signals import Signals
        from ansible.module_utils.prefect_maintenance.report.live import Live
        from ansible.module_utils.prefect_maintenance.run.line import carry_out
    except ImportError as error:
        module.fail_json(
            msg=missing_required_lib(error.name or "sqlalchemy"), exception=traceback.format_exc()
        )
    signals, live = Signals(), Live.after(module.params.get("report") or {})
    governors: list[Governor] = [signals]
    with signals.heeded(), ExitStack() as stack:
        if followed:
            governors.append(followed[1])
            stack.enter_context(told(*followed, live.line))
        elif sys.__stdout__:
            governors.append(Parent(sys.__stdout__.fileno()))
        done = carry_out(
            step,
            module.params,
            check=module.check_mode,
            listener=live,
            governors=governors,
            secrets=_silence(module),
        )
    result: dict[str, Any] = {
        "changed": done.changed,
        "report": done.report,
        "summary": done.summary,
        **done.answers,
    }
    if done.fault:
        result["exception"] = done.fault
    if module._diff and (done.failure is None or done.before):
        result["diff"] = {"before": dict(done.before), "after": dict(done.after)}
    for warning in done.warnings:
        module.warn(warning)
    _end(module, done.mask, done.failure, **result)


def _followed(background: Mapping[str, Any]) -> tuple[Path, Heartbeat] | None:
    """Go on in the background; returns where, and what watches over whoever follows."""
    from ansible.module_utils.prefect_maintenance.pace.heartbeat import Heartbeat

    def watched(file: Path) -> Heartbeat:
        return Heartbeat(file, float(background["gone_after"]))

    folder = go_on(background["folders"], float(background["short"]), watched)
    return (folder, watched(folder / ALIVE)) if folder else None


def change(module: AnsibleModule, what: str) -> None:
    """Make sure of what the server should hold for a module, and exit or fail with the result."""
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
        _end(module, mask, mask.text(str(error)), changed=False)
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
    """Exit, or fail with a text that holds no secret, and take them out of the result."""
    answered = mask.sentences({**result, "invocation": {"module_args": _arguments(module)}})
    if failure is None:
        module.exit_json(**answered)
    module.fail_json(msg=failure, **answered)


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
