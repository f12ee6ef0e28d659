"""The plot of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from .measure import Trial, median


def bars(panels: Mapping[str, Sequence[Trial]], path: Path) -> None:
    """Draw a panel of bars for each title: the median seconds of each contender.

    Args:
        panels: trials by title.
        path: where the SVG goes.
    """
    if not panels:
        return
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9})
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(7.5, 1.9 * len(panels)), squeeze=False, layout="constrained"
    )
    for axis, (title, trials) in zip(axes[:, 0], panels.items(), strict=True):
        names = list(dict.fromkeys(trial.contender for trial in trials))
        seconds = [median(trials, name, "seconds") for name in names]
        colours = ["#1f6f5c" if name.startswith("project") else "#b8b8b8" for name in names]
        shown = axis.barh(names, seconds, color=colours)
        axis.bar_label(shown, fmt="%.1f", padding=3)
        axis.invert_yaxis()
        axis.set_title(title, loc="left")
        axis.set_xlabel("seconds")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
