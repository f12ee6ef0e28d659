"""The report as an artifact: Markdown that both of Prefect's UIs show, with a small chart."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..units import count, size
from . import archived, delete_via, estimated, rules, standing, stuck, ways, what_if
from .text import how
from .verdict import verdict

# Bars of the chart: pixels.
_WIDTH, _BAR, _LABEL = 640, 18, 130


def markdown(report: Mapping[str, Any]) -> str:
    """Return the artifact of a report, as its JSON stands."""
    database = report["database"]
    measured = [t for t in report.get("tables", ()) if t.get("bytes_before") is not None]
    tables = [t for t in report.get("tables", ()) if t in measured or t.get("error")]
    checked = bool(report.get("check_mode"))
    gone, later = ("Would go", "now") if checked else ("Deleted", "after")
    lines = [
        f"# Maintenance{', check only' if checked else ''}: {report.get('status', 'ok')}",
        "",
        *(f"- {_plain(line)}" for line in verdict(report).lines),
        "",
        f"**{sum(report['deleted'].values()):,} rows** {_outcome(database, checked=checked)} "
        f"Everything is counted back from {report['reference_time']}.",
        "",
    ]
    if measured:
        lines += [f"![Sizes before and after]({chart(measured)})", ""]
    if tables:
        lines += [
            f"| Table | Rows before | {gone} | Size before | Size {later} | How |",
            "|:--|--:|--:|--:|--:|:--|",
        ]
        lines += [
            f"| {t['name']} | {count(t['rows_before'])} "
            f"| {count(report['deleted'].get(t['name'], 0))} | {size(t['bytes_before'])} "
            f"| {size(t['bytes_after'])} | {how(t, check=checked)} |"
            for t in tables
        ]
        lines.append("")
    if via := delete_via.sentence(report):
        lines += [f"{_plain(via[0].upper() + via[1:])}.", ""]
    lines += what_if.markdown(report, _plain)
    lines += rules.markdown(report, _plain)
    lines += estimated.markdown(report)
    lines += ways.markdown(report, _plain)
    if reasons := estimated.why_rows_go(report):
        lines += ["## Why rows " + ("go" if checked else "went"), ""]
        lines += [f"- {_plain(reason)}" for reason in reasons]
        lines.append("")
    if report.get("kept"):
        lines += ["## Kept although older than the cutoff", ""]
        lines += [
            f"- {k['rows']:,} {_plain(k['what'])}: {_plain(k['why'])}" for k in report["kept"]
        ]
        lines.append("")
    lines += stuck.markdown(report, _plain)
    lines += archived.markdown(report, _plain)
    for title, texts in (
        (
            f"Why it {'would go' if checked else 'went'} this way",
            [*_reasons(tables), *_of_the_file(database)],
        ),
        *standing.sections(report),
        ("Warnings", report.get("warnings", ())),
        ("Failures", report.get("errors", ())),
    ):
        if texts:
            lines += [f"## {title}", "", *(f"- {_plain(text)}" for text in texts), ""]
    return "\n".join(lines)


def _outcome(database: Mapping[str, Any], *, checked: bool) -> str:
    before, after = database["bytes_before"], database["bytes_after"]
    if checked:
        return f"would go; nothing was changed. The database has {size(after)}."
    return (
        f"deleted, **{size(max(0, before - after))}** given back. "
        f"The database has {size(after)}; it had {size(before)}."
    )


def chart(tables: Sequence[Mapping[str, Any]]) -> str:
    """Return bars of the sizes before and after, as a data URI of an SVG image.

    An image is what both UIs show; one of them drops inline SVG.
    """
    largest = max((t["bytes_before"] or 0 for t in tables), default=0) or 1
    shown = sorted(tables, key=lambda t: -(t["bytes_before"] or 0))[:6]
    height = len(shown) * (_BAR + 8) + 8
    room = _WIDTH - _LABEL - 150
    parts = []
    for number, t in enumerate(shown):
        top = 8 + number * (_BAR + 8)
        before = max(1, int(room * (t["bytes_before"] or 0) / largest))
        after = max(1, int(room * (t["bytes_after"] or 0) / largest))
        parts += [
            f'<text x="{_LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(t["name"])}</text>',
            f'<rect x="{_LABEL}" y="{top}" width="{before}" height="{_BAR}" fill="#d5d9e0"/>',
            f'<rect x="{_LABEL}" y="{top}" width="{after}" height="{_BAR}" fill="#2f8f6f"/>',
            f'<text x="{_LABEL + before + 8}" y="{top + 13}">'
            f"{size(t['bytes_before'])} to {size(t['bytes_after'])}</text>",
        ]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12" fill="#808896">{"".join(parts)}</svg>'
    )
    return "data:image/svg+xml;base64," + b64encode(svg.encode()).decode()


def _reasons(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{t['name']}: {t['strategy_why']}" for t in tables if t.get("strategy_why")]


def _of_the_file(database: Mapping[str, Any]) -> list[str]:
    """Say what became of the space of an SQLite file, which comes back as a whole."""
    if database.get("error"):
        return [f"the whole file: FAILED, {database['error']}"]
    return [f"the whole file: {database['reclaim_why']}"] if database.get("reclaim_why") else []


def _plain(text: str) -> str:
    """Keep what comes from a database or a server from being read as Markdown."""
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    text = re.sub(r"([\\`*\[\]|~#]|(?<!\w)_|_(?!\w))", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
