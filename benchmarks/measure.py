"""Trials, and the table that is made of them: medians, spread, ratios."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trial:
    """One run of one contender; figures by name, all of them the smaller the better."""

    contender: str
    figures: Mapping[str, float]


def table(trials: Sequence[Trial], reference: str) -> list[str]:
    """Return a Markdown table: median (min to max) of each figure, and the ratio of the medians.

    Args:
        trials: of all contenders.
        reference: the contender that the ratios are taken against; ratio = theirs / its.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.figures))
    contenders = list(dict.fromkeys(trial.contender for trial in trials))
    lines = [
        "| contender | n | " + " | ".join(names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    of = {
        (contender, name): [
            trial.figures[name]
            for trial in trials
            if trial.contender == contender and name in trial.figures
        ]
        for contender in contenders
        for name in names
    }
    for contender in contenders:
        count = sum(trial.contender == contender for trial in trials)
        cells = [
            _cell(of[contender, name], of[reference, name], own=contender == reference)
            for name in names
        ]
        lines.append(f"| {contender} | {count} | " + " | ".join(cells) + " |")
    return lines


def ratio(trials: Sequence[Trial], slower: str, faster: str, figure: str) -> float:
    """Return how many times the figure of one contender is that of another, by medians."""
    return median(trials, slower, figure) / median(trials, faster, figure)


def machine() -> str:
    """Describe the machine in one line, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    kernel = f"{platform.system()} {platform.release().split('-')[0]}"
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {kernel}, "
        f"Python {platform.python_version()}"
    )


def median(trials: Sequence[Trial], contender: str, figure: str) -> float:
    """Return the median of a figure of one contender."""
    return statistics.median(figures(trials, contender, figure))


def figures(trials: Sequence[Trial], contender: str, figure: str) -> list[float]:
    """Return a figure of each trial of one contender, in their order."""
    return [trial.figures[figure] for trial in trials if trial.contender == contender]


def _cell(values: Sequence[float], reference: Sequence[float], *, own: bool) -> str:
    if not values:
        return "-"
    median = statistics.median(values)
    text = f"{median:.2f} ({min(values):.2f} to {max(values):.2f})"
    if own or not reference or not statistics.median(reference):
        return text
    return f"{text}, {median / statistics.median(reference):.1f}x"
