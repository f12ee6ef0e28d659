"""Rules and holds of a report as its JSON stands, for people.

What many rules do does not fit on one screen; those that let the most rows go are shown, in the
order in which they decide, and the JSON has all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..units import count, size

# Keys that a report has only when there is something to say of them.
_SELDOM = (
    "rules", "holds", "what_if", "stuck", "archive", "asked", "refused", "saved_plan",
)  # fmt: skip
_KINDS = {
    "run": "Rules for flow runs",
    "event": "Rules for events",
    "resource": "Rules for events, the rows of event_resources",
    "log": "Rules for logs",
}
_MOST, _NAME = 6, 38


@dataclass(frozen=True)
class Row:
    """A rule as it is shown.

    Attributes:
        goes: rows that it lets go.
        kept: rows that it keeps.
        bytes: that the rows which go take.
        ages: of the oldest and the newest that go.
    """

    name: str
    goes: str
    kept: str
    bytes: str
    ages: str


@dataclass(frozen=True)
class Kind:
    """The rules of a kind.

    Attributes:
        rows: those that are shown.
        more: how many are not.
    """

    title: str
    rows: tuple[Row, ...]
    more: str


def without_empty(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report as its JSON stands without what it has nothing to say of."""
    return {key: value for key, value in report.items() if value or key not in _SELDOM}


def kinds(report: Mapping[str, Any]) -> list[Kind]:
    """Return the rules of a report, kind by kind; none where no rules decide."""
    found = []
    for kind, title in _KINDS.items():
        told = [one for one in report.get("rules") or () if one["kind"] == kind]
        shown = _shown(told)
        left = len(told) - len(shown)
        more = f"and {left} more {'rule' if left == 1 else 'rules'}, in the JSON" if left else ""
        if told:
            found.append(Kind(title, tuple(_row(one) for one in shown), more))
    return found


def _shown(told: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    most = sorted(told, key=lambda one: (-one["rows"], -one["kept"]))[:_MOST]
    # The general policy comes after all rules, as it does when they decide.
    return sorted(most, key=lambda one: one["number"] or len(told))


def _row(one: Mapping[str, Any]) -> Row:
    unnamed = one["name"] == f"rule {one['number']}"
    number = f"{one['number']} " if one["number"] and not unnamed else ""
    oldest, newest = (str(one[key] or "")[:10] for key in ("oldest", "newest"))
    ages = oldest if oldest == newest else f"{oldest} to {newest}"
    taken = "" if one["bytes"] is None else size(one["bytes"])
    return Row(f"{number}{one['name']}", count(one["rows"]), count(one["kept"]), taken, ages)


def went(report: Mapping[str, Any]) -> str:
    """Say whether the rows of a rule went, or would."""
    deletes = {"purge", "delete"} & set(report.get("steps", ()))
    return "went" if deletes and not report.get("check_mode") else "would go"


def holds(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each tag that holds runs; what needs a look comes first."""
    told = list(report.get("holds") or ())
    told.sort(key=lambda one: (not one["wrong"], not one["ends_soon"], -one["rows"]))
    left = len(told) - _MOST
    more = [f"and {left} more {'tag' if left == 1 else 'tags'}, in the JSON"] if left > 0 else []
    return [*(_hold(one) for one in told[:_MOST]), *more]


def _hold(one: Mapping[str, Any]) -> str:
    runs = f"{count(one['runs'])} {'run' if one['runs'] == 1 else 'runs'}"
    since = f", the oldest of {one['oldest'][:10]}" if one["oldest"] else ""
    taken = "" if one["bytes"] is None else f", {size(one['bytes'])}"
    rows = f"; {count(one['rows'])} {'row' if one['rows'] == 1 else 'rows'}{taken}"
    ends = f"; ends {'soon, ' if one['ends_soon'] else ''}on {one['until']}" if one["until"] else ""
    wrong = "; its date cannot be read, so it holds for good" if one["wrong"] else ""
    return f"{one['tag']}: {runs}{since}{rows}{ends}{wrong}"


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Show rules and holds on a screen, each part after an empty line."""
    goes = went(report)
    for kind in kinds(report):
        title = f"{kind.title[0].lower()}{kind.title[1:]}:"
        yield from ("", f"  {title:<{_NAME + 4}}{goes:>13}{'kept':>13}{'bytes':>12}  of")
        for row in kind.rows:
            name = row.name if len(row.name) <= _NAME else f"{row.name[: _NAME - 1]}…"
            yield (
                f"    {name:<{_NAME + 2}}{row.goes:>13}{row.kept:>13}{row.bytes:>12}  {row.ages}"
            ).rstrip()
        yield from (f"    {kind.more}",) if kind.more else ()
    if told := holds(report):
        yield from ("", "  held by tags, whatever their age:", *(f"    {line}" for line in told))


def markdown(report: Mapping[str, Any], plain: Callable[[str], str]) -> list[str]:
    """Show the same as tables and a list of Markdown; `plain` keeps names from being markup."""
    told = []
    goes = went(report).capitalize()
    for kind in kinds(report):
        told += [f"## {kind.title}", "", f"| Rule | {goes} | Kept | Bytes | Of |"]
        told += ["|:--|--:|--:|--:|:--|"]
        told += [
            f"| {plain(row.name)} | {row.goes} | {row.kept} | {row.bytes} | {row.ages} |"
            for row in kind.rows
        ]
        told += ["", *((kind.more, "") if kind.more else ())]
    if held := holds(report):
        told += ["## Held by tags, whatever their age", ""]
        told += [*(f"- {plain(line)}" for line in held), ""]
    return told
