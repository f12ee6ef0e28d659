"""A Python that makes environments at once: they hold what it has itself."""

from __future__ import annotations

from pathlib import Path

from lab import environments

_SCRIPT = """#!/bin/sh -e
case "$*" in
"-m venv --clear "*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
"-m pip "*) {pip} ;;
*'sys.prefix + "/requirements.sha256"'*) exec cat "$(dirname "$0")/../requirements.sha256" ;;
*) exec {python} "$@" ;;
esac
"""


def quick_python(folder: Path, pip: str = ":") -> dict[str, str]:
    """Make it in a folder; returns the variables that let a play use it.

    Args:
        folder: where.
        pip: what the shell does instead of an installation.
    """
    path = folder / "quick-python"
    path.write_text(_SCRIPT.format(python=environments.prefect(), pip=pip))
    path.chmod(0o755)
    return {
        "prefect_maintenance_python": "",
        "prefect_maintenance_base_python": str(path),
        "prefect_maintenance_home": str(folder / "home"),
    }
