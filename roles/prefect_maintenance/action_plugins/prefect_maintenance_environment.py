# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
"""Make the environment of the tool on a target, and say for how long that has been going on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):  # type: ignore[misc]
    """What Ansible calls for a task: what the script reads; `python` runs it too."""

    _VALID_ARGS = frozenset(("home", "python", "requirements", "checksum", "pip"))

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make the environment unless another run has made it; a check makes one for itself."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        asked = self._task.args
        script = Path(self._find_needle("files", "make_environment.py")).read_text()
        # In a check the module would not start the script.
        self._task.check_mode = False
        with _shown(self._task.get_name().rpartition(" : ")[2], task_vars or {}):
            ran = self._execute_module(
                "ansible.legacy.command",
                {"argv": [asked["python"], "-c", script], "stdin": json.dumps(dict(asked))},
                task_vars=task_vars,
            )
        if ran.get("unreachable") or "rc" not in ran:
            return {**result, **ran}
        if ran["rc"]:
            said = str(ran["stderr"]).strip()
            return {**result, "failed": True, "msg": f"the environment cannot be made: {said}"}
        return {**result, **json.loads(ran["stdout"])}


@contextmanager
def _shown(what: str, variables: dict[str, Any]) -> Iterator[None]:
    """Say every few seconds what is being done and for how long, until the end of the block."""
    host = f"[{variables['inventory_hostname']}]"
    hosts = variables.get("ansible_play_batch") or [variables["inventory_hostname"]]
    interval = float(variables.get("prefect_maintenance_progress", 5))
    ended, began = threading.Event(), time.monotonic()

    def show() -> None:
        while not ended.wait(interval):
            seconds = time.monotonic() - began
            prefix = host.ljust(max(map(len, hosts)) + 2)
            Display().display(f"{prefix} {what}: for {seconds:.0f} s")

    thread = threading.Thread(target=show, daemon=True)
    if interval:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if interval:
            thread.join()
