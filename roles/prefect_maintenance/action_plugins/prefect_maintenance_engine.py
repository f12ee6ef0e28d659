# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
"""Lay the engine that the role carries down on a target, whole and in one go.

Sixty files take minutes one by one, and what an earlier version had would stay beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

_ENGINE = Path(__file__).resolve().parents[1] / "module_utils" / "prefect_maintenance"


class ActionModule(ActionBase):  # type: ignore[misc]
    """What Ansible calls for a task: `dest` is the folder, `python` runs the script there."""

    _VALID_ARGS = frozenset(("dest", "python"))

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make the folder hold the engine and nothing else; returns what differed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        dest = self._task.args["dest"]
        script = Path(self._find_needle("files", "lay_down.py")).read_text()
        asked = {"folder": dest, "files": engine(), "check": self._task.check_mode}
        # In a check the module would not start the script, which itself changes nothing then.
        self._task.check_mode = False
        ran = self._execute_module(
            "ansible.legacy.command",
            {
                "argv": [self._task.args["python"], "-I", "-c", script],
                "stdin": json.dumps(asked),
            },
            task_vars=task_vars,
        )
        if ran.get("failed") or ran.get("unreachable"):
            reason = str(ran.get("stderr") or ran.get("msg")).strip().rpartition("\n")[2]
            return {**result, "failed": True, "msg": f"the engine cannot lie in {dest}: {reason}"}
        told = json.loads(ran["stdout"])
        before, after = ("".join(f"{line}\n" for line in told[key]) for key in ("before", "after"))
        if self._task.diff:
            result["diff"] = {
                "before": before, "after": after, "before_header": dest, "after_header": dest,
            }  # fmt: skip
        return {**result, "changed": before != after}


def engine() -> dict[str, str]:
    """Return the texts of the engine's files by their paths in it."""
    return {str(path.relative_to(_ENGINE)): path.read_text() for path in _ENGINE.rglob("*.py")}
