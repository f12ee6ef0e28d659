"""The template of a run's name: checked before it is laid down, filled in when a run begins."""

from __future__ import annotations

import string
from collections.abc import Mapping

from ..errors import SettingsError

# Where the environment of a run holds the template of its name.
RUN_NAME = "PREFECT_MAINTENANCE_FLOW_RUN_NAME"
FIELDS = ("date", "time", "host")


def fill_in(template: str, values: Mapping[str, str]) -> str:
    """Return a run's name.

    Args:
        template: with `{date}`, `{time}` and `{host}`; doubled braces stand for themselves.
        values: of each field.

    Raises:
        SettingsError: the template has another field, or a brace that belongs to none.
    """
    allowed = ", ".join(f"{{{name}}}" for name in FIELDS)
    advice = f"flow_run_name {template!r} cannot be filled in: use only {allowed} in braces"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        raise SettingsError(advice) from None
    name = ""
    for text, field, form, conversion in parts:
        name += text
        if field is None:
            continue
        # Attributes, indexes, widths and conversions reach beyond the three values.
        if field not in FIELDS or form or conversion:
            raise SettingsError(advice)
        name += values[field]
    return name


def check_run_name(template: str) -> None:
    """Refuse a template that no run could have as its name.

    Raises:
        SettingsError: it has another field than the three, or a brace that belongs to none.
    """
    fill_in(template, dict.fromkeys(FIELDS, ""))
