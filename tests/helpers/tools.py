"""The tools of the controller, and what they read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

BIN = Path(sys.executable).parent


def read_yaml(path: Path) -> Any:
    """Read a file of YAML."""
    return yaml.safe_load(path.read_text())


def as_list(default: Any) -> Any:
    """Return a default of the table of options as YAML has it."""
    return list(default) if isinstance(default, tuple) else default
