"""Values of single options: numbers within bounds, words from a list, seconds."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from ..errors import SettingsError

# The least and the most of every number. A hundred years of days reach back before any computer.
BOUNDS = {
    "retention_days": (1, 36500),
    "batch_size": (1, 10_000_000),
    "concurrency": (1, 100),
    "max_runtime": (0, 31_536_000),
    "per_cluster": (0, 10_000),
    "vacuum_min_bytes": (0, 2**53 - 1),
    "vacuum_min_percent": (0, 100),
}


def given(request: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return what was asked for; 0 and an empty text are answers, which may be refused."""
    value = request.get(name)
    return default if value is None else value


def number(request: Mapping[str, Any], name: str, default: int) -> int:
    """Return a whole number that was asked for, or its default.

    Raises:
        SettingsError: it is no whole number, or out of its bounds.
    """
    return integer(given(request, name, default), name)


def integer(value: Any, name: str, bounds: tuple[int, int] | None = None, *, unit: str = "") -> int:
    """Return a value as a whole number within its bounds, by default those of the option `name`.

    Raises:
        SettingsError: it is no whole number, or out of its bounds.
    """
    least, most = bounds or BOUNDS[name]
    wanted = f"a whole number{f' of {unit}' if unit else ''}, {least} or more, at most {most}"
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,20}\s*", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SettingsError(f"{name} must be {wanted}, not {short(value)}")
    return value


def seconds(value: Any) -> float:
    """Return a lock_timeout in seconds.

    Raises:
        SettingsError: it is no number, or out of its bounds.
    """
    wanted = "lock_timeout must be seconds, more than 0 and less than 86400, not"
    try:
        told = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"{wanted} {short(value)}") from None
    if not 0 < told < 86400:
        raise SettingsError(f"{wanted} {short(value)}")
    return told


def short(value: Any) -> str:
    """Show a value that may be of any length."""
    return reprlib.repr(value)


def one_of(value: Any, choices: tuple[str, ...], name: str) -> str:
    """Return a word that was asked for.

    Raises:
        SettingsError: it is none of the choices.
    """
    if value not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return str(value)
