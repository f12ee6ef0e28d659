"""The numbers that the project wants to reach, and what a run of the benchmarks says of each."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .measure import Trial, figures


@dataclass(frozen=True)
class Goal:
    """A number to reach, and what was measured of it.

    Attributes:
        what: is measured.
        limit: that it is to reach, or not to exceed.
        values: one for each repetition.
        unit: of the values.
        most: whether `limit` is the most that it may be, instead of the least.
        bound: what bounds it, for when it is not met.
    """

    what: str
    limit: float
    values: tuple[float, ...]
    unit: str
    most: bool
    bound: str = ""

    @property
    def met(self) -> bool:
        """Whether the median reaches the limit."""
        middle = statistics.median(self.values)
        return middle <= self.limit if self.most else middle >= self.limit

    def row(self) -> str:
        """Return the goal as a row of the table."""
        asked = f"at {'most' if self.most else 'least'} {_number(self.limit)} {self.unit}"
        middle, low, high = statistics.median(self.values), min(self.values), max(self.values)
        measured = f"{_number(middle)} ({_number(low)} to {_number(high)})"
        verdict = "met" if self.met else f"**not met**: {self.bound or 'what bounds it is unknown'}"
        return f"| {self.what} | {asked.strip()} | {measured} | {verdict} |"


def times_faster(
    what: str, trials: Sequence[Trial], slower: str, limit: float, *, faster: str = "project",
    figure: str = "seconds", bound: str = "",
) -> Goal:  # fmt: skip
    """Return the goal to be so many times faster, repetition by repetition."""
    values = ratios(trials, slower, faster, figure)
    return Goal(what, limit, values, "times", most=False, bound=bound)


def times_of(
    what: str, trials: Sequence[Trial], reference: str, limit: float, *, other: str = "project",
    figure: str = "seconds", bound: str = "",
) -> Goal:  # fmt: skip
    """Return the goal to take at most so many times of another, repetition by repetition."""
    values = ratios(trials, other, reference, figure)
    return Goal(what, limit, values, "times", most=True, bound=bound)


def at_most(
    what: str, trials: Sequence[Trial], contender: str, figure: str, limit: float, unit: str,
    bound: str = "",
) -> Goal:  # fmt: skip
    """Return the goal to keep a figure small."""
    return Goal(what, limit, tuple(figures(trials, contender, figure)), unit, True, bound)


def ratios(trials: Sequence[Trial], above: str, below: str, figure: str) -> tuple[float, ...]:
    """Return the ratio of two contenders' figures for each repetition, in which they took turns."""
    pairs = zip(figures(trials, above, figure), figures(trials, below, figure), strict=True)
    return tuple(one / other for one, other in pairs)


def table(goals: Sequence[Goal]) -> list[str]:
    """Return the goals as a Markdown table."""
    head = ["| goal | asked | measured: median (smallest to largest) | |", "|---|---|---|---|"]
    return [*head, *(goal.row() for goal in goals)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
