"""Small plots of the last runs, as points and labels; a template draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 240, 64
# A bar that stands for something is seen.
_LEAST = 2.0
_GAP = 0.25
# Few runs do not fill the whole plot.
_FEWEST = 8


@dataclass(frozen=True)
class Mark:
    """A value of one run: a place in the plot, and what is said of it.

    Attributes:
        x: the left edge of a bar, or the middle of a point.
        y: the upper edge of a bar, or the middle of a point.
        kind: the run's status.
    """

    x: float
    y: float
    width: float
    height: float
    kind: str
    label: str


@dataclass(frozen=True)
class Plot:
    """A row of marks and what they mean.

    Attributes:
        style: "line", "bars" or "strip".
        last: the newest value, as people read it.
        note: the highest one, or what else sums them up.
        line: the points of the line, as SVG has them, in pieces where a value is missing.
    """

    title: str
    style: str
    last: str
    note: str
    marks: tuple[Mark, ...]
    line: tuple[str, ...] = ()


@dataclass(frozen=True)
class Value:
    """What one run has to show; None where it was not measured."""

    number: float | None
    kind: str
    when: str


def bars(title: str, values: Sequence[Value], shown: Callable[[float], str]) -> Plot:
    """Return a plot whose bars begin at zero."""
    highest = _highest(values)
    room = WIDTH / max(len(values), _FEWEST)
    marks = []
    for at, value in enumerate(values):
        if value.number is None:
            continue
        height = HEIGHT * value.number / highest if highest else 0.0
        height = max(height, _LEAST if value.number else 0.0)
        marks.append(
            Mark(
                round(room * (at + _GAP / 2), 1),
                round(HEIGHT - height, 1),
                round(room * (1 - _GAP), 1),
                round(height, 1),
                value.kind,
                f"{value.when}: {shown(value.number)}",
            )
        )
    return Plot(title, "bars", _last(values, shown), f"at most {shown(highest)}", tuple(marks))


def line(title: str, values: Sequence[Value], shown: Callable[[float], str]) -> Plot:
    """Return a plot whose line begins at zero, and has a gap where a value is missing."""
    highest = _highest(values)
    room = WIDTH / max(len(values), _FEWEST)
    marks: list[Mark] = []
    pieces: list[list[str]] = [[]]
    for at, value in enumerate(values):
        if value.number is None:
            pieces.append([])
            continue
        x = round(room * (at + 0.5), 1)
        y = round(HEIGHT - HEIGHT * value.number / highest if highest else HEIGHT, 1)
        pieces[-1].append(f"{x},{y}")
        label = f"{value.when}: {shown(value.number)}"
        marks.append(Mark(x, y, 0, 0, value.kind, label))
    lines = tuple(" ".join(one) for one in pieces if len(one) > 1)
    return Plot(
        title, "line", _last(values, shown), f"at most {shown(highest)}", tuple(marks), lines
    )


def strip(title: str, values: Sequence[Value], told: str) -> Plot:
    """Return a plot whose marks differ by their kind alone."""
    room = WIDTH / max(len(values), _FEWEST)
    marks = [
        Mark(
            round(room * (at + _GAP / 2), 1),
            0,
            round(room * (1 - _GAP), 1),
            HEIGHT,
            value.kind,
            f"{value.when}: {value.kind}",
        )
        for at, value in enumerate(values)
    ]
    return Plot(title, "strip", values[-1].kind if values else "-", told, tuple(marks))


def _highest(values: Sequence[Value]) -> float:
    return max((value.number for value in values if value.number is not None), default=0.0)


def _last(values: Sequence[Value], shown: Callable[[float], str]) -> str:
    last = values[-1].number if values else None
    return "-" if last is None else shown(last)
