"""The document of the benchmarks, section by section, with the goals at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .goals import Goal
from .goals import table as goals_table
from .measure import Trial, table


@dataclass
class Results:
    """The document so far, written after every section, so that a stop loses nothing."""

    path: Path
    lines: list[str]
    bars: dict[str, Sequence[Trial]] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)

    def section(
        self,
        title: str,
        trials: Sequence[Trial],
        told: Mapping[str, str],
        goals: Sequence[Goal] = (),
    ) -> None:
        """Add a table, what it says, and which goals it is about."""
        added = ["", f"## {title}", "", *table(trials, trials[0].contender), ""]
        added += [f"- {label}: {text}" for label, text in told.items()]
        self.lines += added
        self.goals += goals
        print("\n".join([*added, "", *goals_table(goals)] if goals else added), flush=True)
        self.path.parent.mkdir(exist_ok=True)
        reached = ["", "## Goals", "", *goals_table(self.goals)] if self.goals else []
        self.path.write_text("\n".join([*self.lines, *reached]) + "\n")
