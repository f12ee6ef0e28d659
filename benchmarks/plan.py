"""Time the whole plan with rules beside the same without: of the purge and of the deletion.

In full it takes some fifteen minutes and 25 GB of disk; most of both is for the second part, which
says how often the rows of `events` are read with ten rules, for the plan and by deletes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from lab.environments import ROOT
from lab.postgres import Postgres
from lab.server import migrate

from .compare import ENGINE, SETTINGS, checkout
from .measure import Trial
from .plan_backlog import fill, fill_events, rows_read

# Twenty rules of every kind, some with a retention for logs; but for a thousandth the same runs go.
_RUNS = [
    {**match, "keep": {"days": 85, **keep}, **({"logs": {"days": 30 + 10 * n}} if n < most else {})}
    for n in range(5)
    for match, keep, most in (
        ({"deployments": [f"flow-{n}/*", f"deployment-{n + 50}"]}, {"last": 10}, 3),
        ({"flows": [f"flow-{n}?"], "except": {"tags": ["team-1*"]}}, {}, 2),
        ({"tags": [f"team-{n}", "x-*"]}, {"last_success": 2}, 0),
        ({"work_pools": [f"pool-{n}"], "states": ["FAILED", "CRASHED"]}, {"last_failure": 2}, 0),
    )
]
_LOGS = [
    {"below": "INFO", "keep": {"days": 60}},
    {"loggers": ["httpx*"], "keep": {"days": 50}},
    {"loggers": ["lab.*"], "below": "WARNING", "keep": {"days": 70}},
    {"loggers": ["prefect.task_runs"], "keep": {"days": 85}},
    {"loggers": ["audit"], "keep": "forever"},
]
_EVENTS: list[dict[str, Any]] = [
    *(
        {"events": [f"lab.type-{n}"], "keep": keep}
        for n, keep in enumerate(
            ({"days": 1}, {"days": 60}, {"days": 85}, {"last": 3}, "forever",
             {"days": 30, "last": 5}, {"days": 80})
        )
    ),
    {"events": ["lab.type-1?"], "resources": ["lab.flow-run.1*"], "keep": {"days": 50}},
    {"resources": ["lab.flow-run.2*"], "keep": {"days": 70}},
    {"events": ["nothing.*"], "keep": {"days": 10}},
]  # fmt: skip
WITHOUT_RULES, WHOLE = "without rules", "the whole plan s"
_ASKED = {"run_delete_via": "sql", "retention_days": 85}
_WITHOUT = {**_ASKED, "hold_tags": []}
_OF_RUNS = {**_ASKED, "rules": _RUNS, "log_rules": _LOGS}
# What is asked for is about runs and logs; events come on top.
_WAYS = {
    WITHOUT_RULES: _WITHOUT,
    "for runs and logs": _OF_RUNS,
    "for events too": {**_OF_RUNS, "event_rules": _EVENTS},
}
_TIMED = ROOT / "benchmarks" / "plan_timed.py"
_MOST = 3.0
_PURGE = """
import json, os
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
asked = json.loads(os.environ['ASKED'])
outcome = STEPS['purge'](Settings.parse(asked, check=False), Pace())
assert outcome.failure is None, outcome.failure
print(json.dumps({'rows': outcome.report.deleted}))
"""


def main() -> None:
    """Print what the plans took and how often events were read, what is asked, and what is met."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=1_000_000)
    options.add_argument("--links", type=int, default=100_000, help="runs that are subflows")
    options.add_argument("--logs", type=int, default=4_000_000)
    options.add_argument("--events", type=int, default=4_000_000, help="0 leaves them out")
    options.add_argument("--pass-events", type=int, default=10_000_000, help="of the second part")
    options.add_argument("--times", type=int, default=3)
    options.add_argument("--base", help="another revision, in turn with this one")
    asked = options.parse_args()
    with Postgres(options=SETTINGS) as cluster, tempfile.TemporaryDirectory() as folder:
        if asked.runs:
            ways = {"this": ROOT}
            if asked.base:
                ways = {asked.base: checkout(asked.base, Path(folder)), **ways}
            _plans(cluster, ways, asked)
            cluster.drop_database("filled")
        if asked.pass_events:
            _passes(cluster, asked.pass_events)


def planned(runs: int, links: int, logs: int, events: int, times: int) -> list[Trial]:
    """Plan for so many runs without a rule, so many times."""
    with Postgres(options=SETTINGS) as cluster:
        url = _filled(cluster, runs, links, logs, events)
        return [_trial(_carried_out(ROOT, [str(_TIMED)], url, _WITHOUT)) for _ in range(times)]


def _trial(told: Mapping[str, Any]) -> Trial:
    parts = told["parts"]
    each = {f"{part} s": seconds for part, seconds in parts.items()}
    return Trial(WITHOUT_RULES, {WHOLE: _whole(parts), **each})


def _whole(parts: Mapping[str, float]) -> float:
    return sum(seconds for part, seconds in parts.items() if part != "due")


def _filled(cluster: Postgres, runs: int, links: int, logs: int, events: int) -> str:
    url = cluster.create_database("filled")
    migrate(url)
    fill(cluster, "filled", runs=runs, links=links, logs=logs)
    fill_events(cluster, "filled", events)
    for sql in ("VACUUM ANALYZE", "CHECKPOINT"):
        cluster.execute(sql, "filled")
    return url


def _plans(cluster: Postgres, ways: Mapping[str, Path], asked: argparse.Namespace) -> None:
    url = _filled(cluster, asked.runs, asked.links, asked.logs, asked.events)
    took: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(asked.times):
        for name, place in ways.items():
            for ruled, rules in _WAYS.items():
                told = _carried_out(place, [str(_TIMED)], url, rules)
                parts = told["parts"]
                whole = _whole(parts)
                took.setdefault((name, ruled), []).append((whole, parts["due"]))
                each = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in parts.items())
                print(
                    f"{name}, {ruled}: {whole:.2f} s ({each}); "
                    f"{told['memory']} MiB, {sum(told['rows'].values()):,} rows would go",
                    flush=True,
                )
    first, *others = _WAYS
    for name in ways:
        for ruled in others:
            pairs = list(zip(took[name, ruled], took[name, first], strict=True))
            for what, at in (("the whole plan", 0), ("what is due", 1)):
                ratios = [more[at] / less[at] for more, less in pairs]
                asked_of = f"; at most {_MOST:g} asked, {_met(median(ratios) <= _MOST)}"
                print(
                    f"{name}: {what} takes {median(ratios):.2f} times as long with rules {ruled} "
                    f"({min(ratios):.2f} to {max(ratios):.2f})"
                    f"{asked_of if (what, ruled) == ('the whole plan', others[0]) else ''}"
                )


def _passes(cluster: Postgres, events: int) -> None:
    migrate(cluster.create_database("events"))
    fill_events(cluster, "events", events)
    for sql in ("VACUUM ANALYZE", "CHECKPOINT"):
        cluster.execute(sql, "events")
    rules = {**_WITHOUT, "event_rules": _EVENTS}
    for way in ("check", "delete"):
        url = cluster.create_database("copied", "events")
        before = rows_read(cluster, "copied", "events")
        if way == "check":
            told = _carried_out(ROOT, [str(_TIMED), "purge"], url, rules)
        else:
            told = _carried_out(ROOT, ["-c", _PURGE], url, {**rules, "purge_strategy": way})
        read = (rows_read(cluster, "copied", "events") - before) / events
        gone = told["rows"]["events"]
        print(f"events, {way}: each row was read {read:.2f} times; {gone:,} go", flush=True)
        cluster.drop_database("copied")


def _carried_out(
    place: Path, program: list[str], url: str, asked: Mapping[str, Any]
) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, *program],
        env={
            **os.environ,
            "PYTHONPATH": str(place / ENGINE),
            "ASKED": json.dumps({"db_url": url, **asked}),
        },
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _met(met: bool) -> str:
    return "met" if met else "not met"


if __name__ == "__main__":
    main()
