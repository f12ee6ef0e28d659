# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
"""Keep on the controller what a run leaves there: files, and totals for the job.

A copy to localhost would start two modules for each file.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from ansible.plugins.action import ActionBase

FILE_MODE, FOLDER_MODE = 0o644, 0o755


class ActionModule(ActionBase):  # type: ignore[misc]
    """What Ansible calls for a task: `files` are texts by their paths, `totals` are the job's."""

    _VALID_ARGS = frozenset(("files", "totals"))
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Write each file whole, in a check as well; reports no change."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        for path, text in self._task.args["files"].items():
            try:
                write(Path(path).expanduser(), text)
            except OSError as error:
                why = error.strerror or str(error)
                return {**result, "failed": True, "msg": f"{path} cannot be written: {why}"}
        if totals := self._task.args.get("totals"):
            result["ansible_stats"] = {"data": totals, "aggregate": False, "per_host": False}
        return {**result, "changed": False}


def write(path: Path, text: str) -> None:
    """Write a file that readers find either as it was or whole; its folder is made.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:
        file.write(text)
    try:
        Path(file.name).chmod(FILE_MODE)
        Path(file.name).replace(path)
    except OSError:
        Path(file.name).unlink()
        raise
