"""What is found of indexes and autovacuum, and what becomes of it while a step is at work."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from ..events import AutovacuumSet, IndexRebuilt
from ..measure.autovacuum import Setting
from ..plan.indexes import IndexChoice


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
