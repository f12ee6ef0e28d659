"""What is found beside rows that are due, and what becomes of it while a step is at work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..events import AutovacuumSet, IndexRebuilt
from ..measure.autovacuum import Setting
from ..measure.blockers import Blocker
from ..plan.indexes import IndexChoice
from ..plan.stuck import StuckRun


@dataclass(frozen=True)
class IndexState:
    """An index that is INVALID or bloated, or was.

    Attributes:
        table: whose it is.
        index: its name.
        problem: "invalid" or "bloated".
        bytes: on disk, as it was found.
        bytes_back: that come back, or came when it is done.
        done: whether it was built anew or removed.
        why: what is known of it, and what is done about it or why nothing is.
        do: of an INVALID one, the statement that helps where the maintenance does not.
    """

    table: str
    index: str
    problem: str
    bytes: int
    bytes_back: int
    done: bool
    why: str = ""
    do: str = ""


def read(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the steps before have found, by its key in the report."""
    return {
        "blockers": tuple(Blocker(**one) for one in report.get("blockers", ())),
        "indexes": tuple(IndexState(**one) for one in report.get("indexes", ())),
        "autovacuum": tuple(Setting(**one) for one in report.get("autovacuum", ())),
        "stuck": tuple(StuckRun(**one) for one in report.get("stuck", ())),
        "asked": dict(report.get("asked", {})),
        "refused": str(report.get("refused", "")),
        "saved_plan": dict(report.get("saved_plan", {})),
    }


def mended(indexes: Iterable[IndexState], settings: Iterable[Setting]) -> bool:
    """Tell whether something was done about an index or a setting."""
    return any(one.done for one in indexes) or any(one.set for one in settings)


def states(choices: Iterable[IndexChoice]) -> tuple[IndexState, ...]:
    """Return indexes as they were found, before anything is done about them."""
    return tuple(
        IndexState(
            one.table, one.index, one.problem, one.bytes, one.gives_back, False, one.why, one.do
        )
        for one in choices
    )


def again(before: Iterable[IndexState], now: Iterable[IndexState]) -> tuple[IndexState, ...]:
    """Return the indexes that were found before and now; an INVALID one that is gone is done."""
    found = {(one.table, one.index): one for one in now}
    gone = [
        replace(one, done=True)
        for one in before
        if one.problem == "invalid" and (one.table, one.index) not in found
    ]
    return (*gone, *found.values())


def ended(known: Iterable[IndexState], left: Collection[tuple[str, str]]) -> tuple[IndexState, ...]:
    """Note which indexes were INVALID and are so no more, but for those that are left, by name."""
    return tuple(
        replace(one, done=True)
        if one.problem == "invalid" and (one.table, one.index) not in left
        else one
        for one in known
    )


def rebuilt(known: Iterable[IndexState], event: IndexRebuilt) -> tuple[IndexState, ...]:
    """Note that an index was built anew."""
    return tuple(
        replace(one, done=True, bytes_back=event.bytes_back)
        if (one.table, one.index) == (event.table, event.index)
        else one
        for one in known
    )


def tuned(known: Iterable[Setting], event: AutovacuumSet) -> tuple[Setting, ...]:
    """Note that a setting of a table was set."""
    return tuple(
        replace(one, set=True) if (one.table, one.setting) == (event.table, event.setting) else one
        for one in known
    )
