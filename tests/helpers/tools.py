"""The tools of the controller, and what they read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from lab.environments import ROOT

BIN = Path(sys.executable).parent


def read_yaml(path: Path) -> Any:
    """Read a file of YAML."""
    return yaml.safe_load(path.read_text())


def as_list(default: Any) -> Any:
    """Return a default of the table of options as YAML has it."""
    return list(default) if isinstance(default, tuple) else default


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs; only the checkout's own folder has a configuration."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PREFECT_"))}
    env |= {"ANSIBLE_NOCOLOR": "1", "PATH": f"{BIN}{os.pathsep}{env['PATH']}"}
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
