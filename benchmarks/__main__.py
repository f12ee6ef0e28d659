"""Run the benchmarks, print their tables, and save them with a plot under docs/."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lab.environments import NEWEST, ROOT

from . import api, peers, plot, purge
from .backlog import Size
from .measure import Trial, machine, median, ratio, table
from .peers import Peer

RESULTS = ROOT / "docs" / "benchmarks.md"
# The batch sizes of Prefect's vacuum: its default, and the largest that helps it.
_DEFAULT, _LARGE = 200, 10_000


@dataclass
class Results:
    """The document so far; written after every section, so that a stop loses nothing."""

    path: Path
    lines: list[str]
    bars: dict[str, Sequence[Trial]] = field(default_factory=dict)

    def section(self, title: str, trials: Sequence[Trial], told: Mapping[str, str]) -> None:
        """Add a table and what it says."""
        added = ["", f"## {title}", "", *table(trials, trials[0].contender), ""]
        added += [f"- {label}: {text}" for label, text in told.items()]
        self.lines += added
        print("\n".join(added), flush=True)
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text("\n".join(self.lines) + "\n")


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=4_000_000, help="rows of log")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", choices=("log", "load", "runs", "large", "events", "api"))
    asked = parser.parse_args()
    results = Results(
        RESULTS if asked.only is None else RESULTS.with_name(f"benchmarks-{asked.only}.md"),
        [
            "# Benchmarks",
            "",
            f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()},",
            f"PostgreSQL 18.6, Prefect {NEWEST}, by `make bench`. Contenders take turns on",
            "identical copies; a cell is the median (smallest to largest) and its multiple of the",
            "first row's. The machine is shared: trust the ratios, not the seconds.",
            "",
            "![Seconds by contender](benchmarks.svg)",
        ],
    )
    size = Size(logs=asked.logs, runs=asked.logs // 100)
    if asked.only in (None, "log", "load", "runs"):
        with purge.Backlog.filled(size) as backlog:
            for name, measured in (("log", _log), ("load", _load), ("runs", _runs)):
                if asked.only in (None, name):
                    measured(results, backlog, asked.repetitions)
    for section, alone in (("large", _large), ("events", _events), ("api", _api)):
        if asked.only in (None, section):
            alone(results, asked.logs, asked.repetitions)
    plot.bars(results.bars, results.path.with_suffix(".svg"))


def _log(results: Results, backlog: purge.Backlog, repetitions: int) -> None:
    rows = f"{backlog.size.logs:,} logs"
    by_deletes = purge.project("log", strategy="delete", vacuum="full")
    contenders: dict[str, Peer] = {
        "project": purge.project("log"),
        "project, by deletes": by_deletes,
        "usual loop": peers.loop("log"),
        _prefects(_LARGE): peers.prefects("logs", _LARGE),
        "VACUUM FULL alone": peers.vacuum_full("log"),
        "floor": peers.floor("log"),
    }
    trials = purge.turns(backlog, contenders, 0.90, repetitions, ("log",))
    title = f"Purge 90 % of {rows} and give the space back"
    told = _log_told(trials)
    told["by deletes and VACUUM FULL, against the usual loop"] = (
        f"{ratio(trials, 'usual loop', 'project, by deletes', 'seconds'):.1f} times faster in all, "
        f"{ratio(trials, 'usual loop', 'project, by deletes', 'deletion s'):.1f} times the deletion"
    )
    results.section(title, trials, told)
    results.bars[f"90 % of {rows} go"] = trials

    few = {n: p for n, p in contenders.items() if n not in ("project, by deletes",)}
    trials = purge.turns(backlog, few, 0.99, repetitions, ("log",))
    results.section(f"Purge 99 % of {rows} and give the space back", trials, _log_told(trials))
    results.bars[f"99 % of {rows} go"] = trials

    trials = [
        backlog.trial(f"{share:.0%} by deletes", purge.project_rate("log"), cutoff, ("log",))
        for _ in range(repetitions)
        for share in (0.1, 0.01)
        for cutoff in (purge.cutoff_for(share),)
    ]
    rate = 1 / median(trials, "10% by deletes", "us a row")
    told = {"rows a second": f"{rate:.2f} million where 10 % go"}
    results.section(f"A small share of {rows}, space left for reuse", trials, told)


def _log_told(trials: Sequence[Trial]) -> dict[str, str]:
    kept = median(trials, "project", "final MiB")
    wal = median(trials, "project", "WAL MiB")
    return {
        "against the usual loop": f"{ratio(trials, 'usual loop', 'project', 'seconds'):.1f} times",
        "against Prefect's own vacuum, which does not shrink": (
            f"{ratio(trials, _prefects(_LARGE), 'project', 'seconds'):.0f} times"
        ),
        "of the floor": f"{ratio(trials, 'project', 'floor', 'seconds'):.1f} times its time",
        "WAL": f"{wal / kept:.2f} times what is kept",
        "lock": f"{median(trials, 'project', 'lock ms'):.0f} ms",
    }


def _load(results: Results, backlog: purge.Backlog, repetitions: int) -> None:
    contenders: dict[str, Peer | None] = {
        "project": purge.project("log"),
        "nobody": None,
        "project, by deletes": purge.project("log", strategy="delete", vacuum="plain"),
        "usual loop": peers.loop("log"),
    }
    cutoff = purge.cutoff_for(0.9)
    trials = [
        backlog.under_load(name, peer, cutoff)
        for _ in range(repetitions)
        for name, peer in contenders.items()
    ]
    told = {
        "slowest write": f"{max(_all(trials, 'project', 'write max ms')):.0f} ms with the project, "
        f"{max(_all(trials, 'nobody', 'write max ms')):.0f} ms with nobody at work",
        "lost": "no row, no request failed",
    }
    results.section("1000 rows a second written and 20 reads meanwhile, 90 % go", trials, told)


def _runs(results: Results, backlog: purge.Backlog, repetitions: int) -> None:
    tables = ("flow_run", "task_run", "flow_run_state", "task_run_state", "log")
    contenders: dict[str, Peer] = {
        "project, by SQL": purge.project_runs,
        _prefects(_DEFAULT): peers.prefects("runs", _DEFAULT),
        _prefects(_LARGE): peers.prefects("runs", _LARGE),
    }
    trials = purge.turns(backlog, contenders, 0.5, repetitions, tables)
    told = {
        f"against Prefect's vacuum at {batch}": f"{_against(trials, batch):.0f} times"
        for batch in (_DEFAULT, _LARGE)
    }
    count = backlog.size.runs // 2
    title = f"Delete {count:,} flow runs with their children and {backlog.size.logs // 2:,} logs"
    results.section(title, trials, told)
    results.bars[f"{count:,} flow runs go"] = trials


def _against(trials: Sequence[Trial], batch: int) -> float:
    return ratio(trials, _prefects(batch), "project, by SQL", "seconds")


def _prefects(batch: int) -> str:
    return f"Prefect's vacuum, {batch}"


def _large(results: Results, logs: int, repetitions: int) -> None:
    trials = []
    for times in (1, 4):
        size = Size(logs=times * logs, runs=times * logs // 100)
        with purge.Backlog.filled(size) as backlog:
            contenders = {
                f"project, {size.logs:,}": purge.project("log"),
                f"by deletes, {size.logs:,}": purge.project("log", strategy="delete"),
            }
            trials += purge.turns(backlog, contenders, 0.9, repetitions, ("log",))
    told = {
        f"{way}, four times the rows take": f"{_grown(trials, way, logs):.1f} times as long"
        for way in ("project", "by deletes")
    }
    results.section("Four times the rows, 90 % go", trials, told)


def _grown(trials: Sequence[Trial], way: str, logs: int) -> float:
    return ratio(trials, f"{way}, {4 * logs:,}", f"{way}, {logs:,}", "seconds")


def _events(results: Results, logs: int, repetitions: int) -> None:
    tables = ("event_resources", "events")
    size = Size(logs=0, events=logs * 15 // 100, runs=1)
    contenders: dict[str, Peer] = {
        "project": purge.project(*tables),
        "usual loop": peers.loop(*tables),
        _prefects(_LARGE): peers.prefects("events", _LARGE),
        "floor": peers.floor(*tables),
    }
    with purge.Backlog.filled(size) as backlog:
        trials = purge.turns(backlog, contenders, 0.9, repetitions, tables)
    faster = f"{ratio(trials, 'usual loop', 'project', 'seconds'):.1f} times"
    title = f"Purge 90 % of {size.events:,} events and {3 * size.events:,} event resources"
    results.section(title, trials, {"against the usual loop": faster})
    results.bars[f"90 % of {size.events:,} events go"] = trials


def _api(results: Results, logs: int, repetitions: int) -> None:
    runs = logs // 200
    trials = api.run(runs, repetitions)
    results.section(
        f"Delete flow runs through the API ({runs:,} runs there)", trials, api.goals(trials)
    )


def _all(trials: Sequence[Trial], contender: str, figure: str) -> list[float]:
    return [trial.figures[figure] for trial in trials if trial.contender == contender]


if __name__ == "__main__":
    main()
