"""Sections of the benchmarks that fill databases of their own."""

from __future__ import annotations

from collections.abc import Sequence

from lab.family import TABLES

from . import api as through_api
from . import compact as compaction
from . import memory, peers, purge
from . import plan as planning
from . import sqlite as on_sqlite
from . import whole as all_steps
from .backlog import Size
from .goals import Goal, at_most, ratios, times_faster
from .measure import Trial, figures, median, ratio
from .peers import Peer
from .results import Results

# Logs of a database that takes no memory at all.
_FEW = 16_000
_HUNDREDTH = "1% by deletes"
_LARGE = 10_000


def large(results: Results, logs: int, repetitions: int) -> None:
    """Four times the rows, a steady purge of them, and the memory of each step."""
    trials, used = [], []
    cutoff = purge.cutoff_for(0.9)
    with purge.Backlog.filled(Size(logs=_FEW, runs=_FEW // 100)) as backlog:
        used += memory.trials(backlog, f"{_FEW:,}", cutoff)
    for times in (1, 4):
        size = Size(logs=times * logs, runs=times * logs // 100)
        with purge.Backlog.filled(size) as backlog:
            if times == 4:
                used += memory.trials(backlog, f"{size.logs:,}", cutoff)
                one = purge.cutoff_for(0.01)
                few = [
                    backlog.trial(_HUNDREDTH, purge.project_rate("log"), one, ("log",))
                    for _ in range(repetitions)
                ]
            contenders = {
                f"project, {size.logs:,}": purge.project("log"),
                f"by deletes, {size.logs:,}": purge.project("log", strategy="delete"),
            }
            trials += purge.turns(backlog, contenders, 0.9, repetitions, ("log",))
    told = {
        f"{way}, four times the rows take": f"{_grown(trials, way, logs):.1f} times as long"
        for way in ("project", "by deletes")
    }
    goals = [
        Goal(
            f"{way}, four times the rows",
            4.3,
            ratios(trials, f"{way}, {4 * logs:,}", f"{way}, {logs:,}", "seconds"),
            "times the time",
            most=True,
            bound="a table larger than shared_buffers is read from the system's cache or the disk",
        )
        for way in ("project", "by deletes")
    ]
    results.section("Four times the rows, 90 % go", trials, told, goals)
    what = f"1 % of {4 * logs:,} by deletes, a row"
    bound = "the visibility map, looked at again for each run that logs name"
    goals = [at_most(what, few, _HUNDREDTH, "pages a row", 1.5, "pages", bound)]
    results.section(f"1 % of {4 * logs:,} logs, space left for reuse", few, {}, goals)
    results.section(f"Memory of a step, 90 % of {_FEW:,} and of {4 * logs:,} logs", used, {}, [
        Goal(
            f"memory of {step} on {4 * logs:,} logs, above that on {_FEW:,}",
            80,
            (median(used, f"{step}, {4 * logs:,}", "memory MiB")
             - median(used, f"{step}, {_FEW:,}", "memory MiB"),),
            "MiB",
            most=True,
        )
        for step in memory.STEPS
    ])  # fmt: skip


def whole(results: Results, logs: int, repetitions: int) -> None:
    """The whole line on a family of runs under load, and on four times as much."""
    trials: list[Trial] = []
    goals: list[Goal] = []
    for times in (1, 4):
        # As many runs as make 1.3 GB with their states and task runs at the usual size.
        size = Size(logs=times * logs // 4, runs=times * logs // 40)
        idle = f"nobody, {size.runs:,} runs"
        ways = {f"max_lock {lock:g} s, {size.runs:,} runs": lock for lock in (0.1, 1.0)}
        contenders: dict[str, Peer | None] = {
            **{name: all_steps.project(lock) for name, lock in ways.items()},
            idle: None,
        }
        with purge.Backlog.filled(size) as backlog:
            found = [
                backlog.under_load(name, peer, purge.cutoff_for(0.9), all_steps.WRITE)
                for _ in range(repetitions)
                for name, peer in contenders.items()
            ]
        most = max(100.0, 2 * max(figures(found, idle, "write max ms")))
        bound = "a VACUUM FULL that fits max_lock is taken, and lasts as long as what is kept"
        for name in ways:
            goals += [
                at_most(f"longest lock, {name}", found, name, "lock ms", 100, "ms", bound),
                at_most(f"slowest write, {name}", found, name, "write max ms", most, "ms", bound),
            ]
        trials += found
    results.section(
        "All steps on a family of runs, 90 % go, others write and read", trials, {}, goals
    )


def _grown(trials: Sequence[Trial], way: str, logs: int) -> float:
    return ratio(trials, f"{way}, {4 * logs:,}", f"{way}, {logs:,}", "seconds")


def events(results: Results, logs: int, repetitions: int) -> None:
    """Events and their resources against the usual loop."""
    tables = ("event_resources", "events")
    size = Size(logs=0, events=logs * 15 // 100, runs=1)
    contenders: dict[str, Peer] = {
        "project": purge.project(*tables),
        "usual loop": peers.loop(*tables),
        f"Prefect's vacuum, {_LARGE}": peers.prefects("events", _LARGE),
        "floor": peers.floor(*tables),
    }
    with purge.Backlog.filled(size) as backlog:
        trials = purge.turns(backlog, contenders, 0.9, repetitions, tables)
    faster = f"{ratio(trials, 'usual loop', 'project', 'seconds'):.1f} times"
    title = f"Purge 90 % of {size.events:,} events and {3 * size.events:,} event resources"
    goals = [
        times_faster(
            "`events` and `event_resources` against the loop",
            trials,
            "usual loop",
            8,
            bound="copying and indexing what stays",
        )
    ]
    results.section(title, trials, {"against the usual loop": faster}, goals)
    results.bars[f"90 % of {size.events:,} events go"] = trials


def api(results: Results, logs: int, repetitions: int) -> None:
    """Flow runs through the API of a real server."""
    runs = logs // 200
    trials = through_api.run(runs, repetitions)
    results.section(
        f"Delete flow runs through the API ({runs:,} runs there)",
        trials,
        through_api.told(trials),
        through_api.goals(trials),
    )


def compact(results: Results, logs: int, repetitions: int) -> None:
    """Compaction of the tables that others refer to, beside VACUUM FULL."""
    runs = logs // 40
    with compaction.staged(runs) as cluster:
        for name in TABLES:
            trials = compaction.trials_of(cluster, name, repetitions)
            title = f"Give the space of `{name}` back, nine in ten of {runs:,} flow runs are gone"
            results.section(title, trials, {}, compaction.goals_of(name, trials))


def plan(results: Results, logs: int, repetitions: int) -> None:
    """The plan of the purge and of the deletion, one run in ten being a subflow."""
    runs = logs // 4
    trials = planning.planned(runs, runs // 10, logs, logs, repetitions)
    what = f"planning for {runs:,} flow runs, of which {runs // 10:,} are subflows"
    bound = "each run, and each log's run, is read once"
    goal = at_most(what, trials, planning.WITHOUT_RULES, planning.WHOLE, 5, "seconds", bound)
    results.section(f"Plan for {runs:,} flow runs, {logs:,} logs and events", trials, {}, [goal])


def sqlite(results: Results, logs: int, _: int) -> None:
    """A server on SQLite that is written to and read from during each step."""
    rows = logs * 3 // 40
    trials = [part.trial for part in on_sqlite.parts(rows)]
    bound = "SQLite lets one transaction write at a time: the largest one that cannot be cut"
    goals = [
        at_most(
            f"SQLite, {step}: p95 of the server's writes",
            trials, step, on_sqlite.WRITE_P95, on_sqlite.GOAL_MS, "ms", bound,
        )
        for step in on_sqlite.STEPS_BESIDE
    ]  # fmt: skip
    results.section(f"A server on SQLite with {rows:,} rows, one pass", trials, {}, goals)
