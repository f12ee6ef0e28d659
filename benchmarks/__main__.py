"""Run the benchmarks, print their tables, and save them with a plot under docs/."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime

from lab.environments import NEWEST, ROOT

from . import peers, plot, purge, sections
from .backlog import Size
from .goals import Goal, at_most, times_faster, times_of
from .measure import Trial, figures, machine, median, ratio
from .peers import Peer
from .results import Results

RESULTS = ROOT / "docs" / "benchmarks.md"
# The batch sizes of Prefect's vacuum: its default, and the largest that helps it.
_DEFAULT, _LARGE = 200, 10_000
_TENTH = "10% by deletes"
_BY_DELETES = (
    "deletes of PostgreSQL itself: 0.6 microseconds a row in one statement without a guard"
)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=4_000_000, help="rows of log")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", choices=(*_OF_ONE_BACKLOG, *_ALONE))
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
    if asked.only is None or asked.only in _OF_ONE_BACKLOG:
        with purge.Backlog.filled(size) as backlog:
            for name, measured in _OF_ONE_BACKLOG.items():
                if asked.only in (None, name):
                    measured(results, backlog, asked.repetitions)
    for name, alone in _ALONE.items():
        if asked.only in (None, name):
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
    goals = _log_goals("90 %", trials, 10, 1.25)
    results.section(title, trials, told, goals)
    results.bars[f"90 % of {rows} go"] = trials

    few = {n: p for n, p in contenders.items() if n not in ("project, by deletes",)}
    trials = purge.turns(backlog, few, 0.99, repetitions, ("log",))
    goals = _log_goals("99 %", trials, 25, 2)
    told = _log_told(trials)
    results.section(f"Purge 99 % of {rows} and give the space back", trials, told, goals)
    results.bars[f"99 % of {rows} go"] = trials

    trials = [
        backlog.trial(f"{share:.0%} by deletes", purge.project_rate("log"), cutoff, ("log",))
        for _ in range(repetitions)
        for share in (0.1, 0.01)
        for cutoff in (purge.cutoff_for(share),)
    ]
    results.section(
        f"A small share of {rows}, space left for reuse",
        trials,
        {},
        [
            at_most("10 % by deletes, a row", trials, _TENTH, *asked)
            for asked in (
                ("us a row", 1 / 1.2, "microseconds", _BY_DELETES),
                ("pages a row", 1.2, "pages"),
                ("WAL bytes a row", 350, "bytes"),
            )
        ],
    )


def _log_goals(gone: str, trials: Sequence[Trial], loop: float, floor: float) -> list[Goal]:
    what = f"purge and shrink `log`, {gone} go, against the"
    bound = "removing the old table's files, and some three hundred short statements"
    return [
        times_faster(f"{what} usual loop and VACUUM FULL", trials, "usual loop", loop, bound=bound),
        times_of(f"{what} floor", trials, "floor", floor, bound=bound),
    ]


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
    slowest, idle = (max(figures(trials, who, "write max ms")) for who in ("project", "nobody"))
    told = {
        "slowest write": f"{slowest:.0f} ms with the project, {idle:.0f} ms with nobody at work",
        "lost": "no row, no request failed",
    }
    limit = max(100.0, 2 * idle)
    goals = [
        at_most(f"slowest write, {name}", trials, name, "write max ms", limit, "ms")
        for name in ("project", "project, by deletes")
    ]
    title = "1000 rows a second written and 20 reads meanwhile, 90 % go"
    results.section(title, trials, told, goals)


def _runs(results: Results, backlog: purge.Backlog, repetitions: int) -> None:
    tables = ("flow_run", "task_run", "flow_run_state", "task_run_state", "log")
    contenders: dict[str, Peer] = {
        "project, by SQL": purge.project_runs,
        _prefects(_DEFAULT): peers.prefects("runs", _DEFAULT),
        _prefects(_LARGE): peers.prefects("runs", _LARGE),
        "bare deletes": peers.bare_deletes,
    }
    trials = purge.turns(backlog, contenders, 0.5, repetitions, tables)
    told = {
        f"against Prefect's vacuum at {batch}": f"{_against(trials, batch):.0f} times"
        for batch in (_DEFAULT, _LARGE)
    }
    bare = ratio(trials, _prefects(_DEFAULT), "bare deletes", "seconds")
    told[f"bare deletes against Prefect's vacuum at {_DEFAULT}"] = f"{bare:.0f} times"
    count = backlog.size.runs // 2
    title = f"Delete {count:,} flow runs with their children and {backlog.size.logs // 2:,} logs"
    goals = [
        times_faster(
            f"{count:,} flow runs against Prefect's vacuum at {batch} a batch",
            trials,
            _prefects(batch),
            limit,
            faster="project, by SQL",
            bound="bare deletes, which ask nothing, are the most that one session can do",
        )
        for batch, limit in ((_DEFAULT, 35), (_LARGE, 20))
    ]
    results.section(title, trials, told, goals)
    results.bars[f"{count:,} flow runs go"] = trials


def _against(trials: Sequence[Trial], batch: int) -> float:
    return ratio(trials, _prefects(batch), "project, by SQL", "seconds")


def _prefects(batch: int) -> str:
    return f"Prefect's vacuum, {batch}"


_OF_ONE_BACKLOG = {"log": _log, "load": _load, "runs": _runs}
_ALONE = {
    section.__name__: section
    for section in (
        sections.large, sections.events, sections.whole, sections.compact, sections.plan,
        sections.api, sections.sqlite,
    )
}  # fmt: skip


if __name__ == "__main__":
    main()
