# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
"""The screen of the playbooks: steps as they begin, failures once, nothing that is as it was.

Ansible's own output shows every banner at once together with every check that passed, or a
banner only with the first result, which for a long step is minutes too late.
"""

from __future__ import annotations

DOCUMENTATION = """
name: prefect_maintenance_screen
type: stdout
short_description: What the maintenance does, while it does it
version_added: "0.1.0"
description:
  - As C(ansible.builtin.default), but a task that takes long is announced when it begins, a task
    that changed nothing and has nothing to tell is left out, and a failure is one line, once.
  - With C(-v) everything is shown.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout_callback in the configuration
"""

from ansible import constants as C
from ansible.executor.task_result import CallbackTaskResult
from ansible.playbook.included_file import IncludedFile
from ansible.playbook.task import Task
from ansible.plugins.callback.default import CallbackModule as Default

# Tasks that others than these modules do say by this variable that they take long.
_LONG = "__prefect_maintenance_long"
_MODULES = "prefect_"
# Actions of the role on the controller, which take no time.
_ACTIONS = "prefect_maintenance_"
_DEBUG = ("ansible.builtin.debug", "debug")
# Their result is one sentence.
_SENTENCES = ("ansible.builtin.assert", "ansible.builtin.fail", "assert", "fail")


class CallbackModule(Default):  # type: ignore[misc]
    """What Ansible calls as a play goes on."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "prefect_maintenance_screen"

    def __init__(self) -> None:
        super().__init__()
        # What was shown, by host.
        self._failures: dict[str, list[str]] = {}

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        """Announce a task that takes long before it is at work."""
        super().v2_playbook_on_task_start(task, is_conditional)
        long = _is_ours(task) or task.vars.get(_LONG)
        # Where each server goes on by itself, it is told for each.
        if long and self._last_task_banner != task._uuid:
            self._print_task_banner(task)

    def v2_playbook_on_include(self, included_file: IncludedFile) -> None:
        """Leave out which file the next tasks stand in."""
        if self._display.verbosity:
            super().v2_playbook_on_include(included_file)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Show what changed, was announced or has something to tell."""
        if self._tells(result):
            super().v2_runner_on_ok(result)
        else:
            self._handle_warnings_and_exception(result)

    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        """Show the items that changed."""
        if self._tells(result):
            super().v2_runner_item_on_ok(result)

    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        """Say that a task was skipped after all that was announced."""
        super().v2_runner_on_skipped(result)
        announced = self._last_task_banner == result.task._uuid
        if announced and not self.get_option("display_skipped_hosts"):
            where, color = self.host_label(result), C.COLOR_SKIP
            self._display.display(f"skipping: [{where}]", color=color)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """Show a failure in one line, unless it only repeats one that was shown for the host."""
        said = " ".join(str(result.result.get("msg", "")).split())
        shown = self._failures.setdefault(result.host.get_name(), [])
        if self._display.verbosity or ignore_errors or not _is_sentence(result.task):
            super().v2_runner_on_failed(result, ignore_errors)
        elif not any(said.endswith(one) for one in shown):
            if self._last_task_banner != result.task._uuid:
                self._print_task_banner(result.task)
            self._handle_warnings(result.result)
            where, color = self.host_label(result), C.COLOR_ERROR
            self._display.display(f"fatal: [{where}]: FAILED! => {said}", color=color)
        if said:
            shown.append(said)

    def _tells(self, result: CallbackTaskResult) -> bool:
        return bool(
            self._display.verbosity
            or result.result.get("changed")
            or result.task.action in _DEBUG
            or self._last_task_banner == result.task._uuid
        )


def _is_sentence(task: Task) -> bool:
    return task.action in _SENTENCES or _is_ours(task)


def _is_ours(task: Task) -> bool:
    """Tell whether it is one of the modules, which a collection puts under its own name."""
    name = str(task.action).rpartition(".")[2]
    return name.startswith(_MODULES) and not name.startswith(_ACTIONS)
