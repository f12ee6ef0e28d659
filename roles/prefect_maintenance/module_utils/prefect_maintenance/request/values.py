"""Values of single options: numbers within bounds, words from a list, seconds."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from ..errors import SettingsError
from .options import OPTIONS, REQUEST

# The least and the most of every whole number, those of the controller included.
BOUNDS = {
    option.name: option.bounds
    for option in (*OPTIONS, *REQUEST.values())
    if option.type == "int" and option.bounds
}


def given(request: Mapping[str, Any], name: str) -> Any:
    """Return what was asked for, or the option's default.

    0 and an empty text are answers, which may be refused.
    """
    value = request.get(name)
    return REQUEST[name].default if value is None else value


def number(request: Mapping[str, Any], name: str) -> int:
    """Return a whole number that was asked for, or its default.

    Raises:
        SettingsError: it is no whole number, or out of its bounds.
    """
    return integer(given(request, name), name)


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


def seconds(request: Mapping[str, Any], name: str) -> float:
    """Return the seconds that were asked for, or their default; the bounds themselves are out.

    Raises:
        SettingsError: it is no number, or out of its bounds.
    """
    value = given(request, name)
    least, most = REQUEST[name].bounds or (0, math.inf)
    wanted = f"{name} must be seconds, more than {least} and less than {most}, not"
    try:
        told = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"{wanted} {short(value)}") from None
    if not least < told < most:
        raise SettingsError(f"{wanted} {short(value)}")
    return told


def short(value: Any) -> str:
    """Show a value that may be of any length."""
    return reprlib.repr(value)


def word(request: Mapping[str, Any], name: str) -> str:
    """Return a word that was asked for, or its default.

    Raises:
        SettingsError: it is none of the choices.
    """
    return one_of(given(request, name), name)


def one_of(value: Any, name: str) -> str:
    """Return one of the words from which the option may choose.

    Raises:
        SettingsError: it is none of the choices.
    """
    choices = REQUEST[name].choices
    if value not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return str(value)
