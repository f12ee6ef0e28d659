"""The report as a page for people: one HTML file that needs no script and loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import units
from .compare import change, minute, took
from .fleet_view import fleet_view
from .history import Run
from .host_view import host_view

# A longer text is cut; names come from a database, where anybody may have written them.
_LONGEST = 600
_LONGEST_NAME = 80


def host_page(
    report: Mapping[str, Any],
    runs: Sequence[Run],
    broken: Sequence[str],
    name: str,
    templates: Path,
    *,
    looks: bool,
) -> str:
    """Return the page of one server.

    Args:
        report: as its JSON stands, of this version or an earlier one.
        runs: the earlier ones of the server, the oldest first.
        broken: files among theirs that hold no run.
        name: of the JSON's file, which lies beside the page.
        templates: the folder that they are in.
        looks: the report only measures, and is of no run.
    """
    view = host_view(report, runs, looks=looks)
    template = _environment(templates).get_template("host.html.j2")
    return template.render(view=view, r=view.report, broken=broken, json_name=name)


def fleet_page(
    summary: Mapping[str, Any],
    runs: Mapping[str, Sequence[Run]],
    pages: Collection[str],
    name: str,
    templates: Path,
) -> str:
    """Return the page of a rollout.

    Args:
        summary: as its JSON stands, of this version or an earlier one.
        runs: the last ones of each server, the oldest first.
        pages: names of the pages that lie beside this one.
        name: of the JSON's file, which lies beside the page.
        templates: the folder that they are in.
    """
    view = fleet_view(summary, runs, pages)
    return _environment(templates).get_template("fleet.html.j2").render(view=view, json_name=name)


def _environment(templates: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=inert,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    return environment


def inert(value: Any) -> Any:
    """Return what a page may show of a value: no signs that steer the text, and no endless one."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    if len(value) > _LONGEST:
        value = f"{value[:_LONGEST]}… ({len(value):,} characters)"
    if value.isprintable():
        return value
    return "".join(
        sign if sign.isprintable() else " " if sign.isspace() else "\N{REPLACEMENT CHARACTER}"
        for sign in value
    )


def _name(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def _lock(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "?"
    return f"{milliseconds:,.0f} ms" if milliseconds < 10_000 else took(milliseconds / 1000)


def _days(number: float) -> str:
    if number >= 730:
        return f"{number / 365.25:,.1f} years"
    return f"{number:,.0f} {'day' if round(number) == 1 else 'days'}"


def _instant(text: str, *, day: bool = False) -> str:
    """Return an instant to the second, or as a day; "?" for what is none."""
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return "?"
    return f"{at:%Y-%m-%d}" if day else f"{at:%Y-%m-%d %H:%M:%S} UTC"


_FILTERS: dict[str, Callable[..., Any]] = {
    "size": units.size,
    "count": units.count,
    "took": took,
    "lock": _lock,
    "days": _days,
    "change": change,
    "instant": _instant,
    "minute": minute,
    "name": _name,
}
