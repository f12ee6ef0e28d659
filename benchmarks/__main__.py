"""Run the benchmarks, print their tables, and save them under docs/."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from lab.environments import ROOT

from . import api, purge
from .measure import Trial, machine, ratio, table

RESULTS = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows of log")
    parser.add_argument("--runs", type=int, default=20_000, help="flow runs for the API")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="also four times the rows, once")
    asked = parser.parse_args()
    lines = [
        "# Benchmarks",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()},",
        "PostgreSQL 18.6, Prefect 3.8.8, by `make bench`. Contenders take turns on identical",
        "data; each cell is the median (smallest to largest) and its multiple of the project's.",
        "The machine is shared: trust the ratios.",
    ]

    trials = purge.run(asked.rows, asked.repetitions)
    lines += _section(f"Purge 90 % of {asked.rows:,} logs and give the space back", trials)
    for figure in ("total s", "deletion s"):
        lines.append(f"- {figure}: the loop takes {_times(trials, 'project', figure)}")
    lines.append(
        f"- total s: the loop takes {_times(trials, 'project, rewrite', 'total s')} "
        "with purge_strategy rewrite"
    )
    if asked.large:
        large = purge.run(4 * asked.rows, 1)
        lines += _section(f"The same with {4 * asked.rows:,} logs", large)
        grown = _of(large, "total s") / _of(trials, "total s")
        lines.append(f"- four times the rows take the project {grown:.1f} times as long")

    trials = api.run(asked.runs, asked.repetitions)
    lines += _section(f"Delete flow runs through the API ({asked.runs:,} runs there)", trials)
    faster = ratio(trials, "one DELETE a run", "project", "ms a run")
    slowed = ratio(trials, "project", "idle server", "read p95 ms")
    lines.append(f"- the project deletes {faster:.1f} times the runs per second")
    lines.append(f"- the server's read p95 meanwhile is {slowed:.1f} times the idle one")

    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.write_text(text)


def _section(title: str, trials: list[Trial]) -> list[str]:
    return ["", f"## {title}", "", *table(trials, "project"), ""]


def _times(trials: list[Trial], faster: str, figure: str) -> str:
    return f"{ratio(trials, 'usual loop', faster, figure):.1f} times as long"


def _of(trials: list[Trial], figure: str) -> float:
    values = sorted(t.figures[figure] for t in trials if t.contender == "project")
    return values[len(values) // 2]


if __name__ == "__main__":
    main()
