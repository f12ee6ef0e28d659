"""Play every case: each step, each party, each statement; print a table of what came of it.

Several processes play, each with a cluster of its own. Exits with 1 when a case failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pytest

from lab import end_orderly, environments
from lab.postgres import Postgres
from lab.server import migrate

from .cases import PARTIES, Result, missing, play
from .neighbour import Place
from .stage import OPTIONS, STAGES, Theatre

_PATIENCE = 1.0


def main() -> int:
    """Play what the arguments name, everything without them; returns the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--stage", action="append", choices=list(STAGES), help="all")
    options.add_argument("--party", action="append", choices=list(PARTIES), help="all")
    options.add_argument("--place", help="only statements that contain this")
    options.add_argument("--every", type=int, default=1, help="only every n-th statement")
    options.add_argument(
        "--apart", type=int, default=1, help="outside of the work on the logs only every n-th"
    )
    options.add_argument("--patience", type=float, default=_PATIENCE, help="seconds")
    options.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.shard is not None:
        end_orderly()
        for result in _played(asked):
            print(json.dumps(asdict(result)), flush=True)
        return 0
    began = time.monotonic()
    with ThreadPoolExecutor(asked.processes) as pool:
        shards = list(pool.map(_shard, range(asked.processes)))
    results = [result for shard, _ in shards for result in shard]
    _show(results, time.monotonic() - began)
    return 1 if any(r["failures"] for r in results) or any(code for _, code in shards) else 0


def _shard(number: int) -> tuple[list[dict[str, Any]], int]:
    command = [sys.executable, "-m", "tests.hostile", *sys.argv[1:], "--shard", str(number)]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            result = json.loads(line)
            found.append(result)
            for failure in result["failures"]:
                print(
                    f"FAILED {result['stage']} | {result['party']} | {result['place']} | {failure}"
                    f"{' | ' + result['error'] if result['error'] else ''}",
                    flush=True,
                )
    return found, process.returncode


def _played(asked: argparse.Namespace) -> Iterator[Result]:
    with Postgres(os.environ.get("LAB_POSTGRES", "18"), OPTIONS) as cluster:
        migrate(cluster.create_database("migrated"), environments.NEWEST)
        theatre = Theatre(cluster)
        theatre.fill("migrated")
        number = 0
        for name in asked.stage or STAGES:
            stage = theatre.stage(name)
            tense = set(stage.tense)
            within = [p for p in stage.places if p in tense]
            outside = [p for p in stage.places if p not in tense]
            for turn, party in enumerate(PARTIES[name] for name in asked.party or PARTIES):
                if missing(party, cluster):
                    continue
                # Each party begins elsewhere, so that together they come to every statement.
                places = _spread(within, turn, asked.every)
                places += _spread(outside, turn, asked.every * asked.apart)
                for place in places:
                    if asked.place and asked.place not in place.text:
                        continue
                    number += 1
                    if number % asked.processes != asked.shard:
                        continue
                    try:
                        yield play(theatre, stage, party, place, asked.patience)
                    except pytest.skip.Exception:
                        break


def _spread(places: list[Place], turn: int, every: int) -> list[Place]:
    return places[turn % max(1, min(every, len(places))) :: every]


def _show(results: Iterable[dict[str, Any]], seconds: float) -> None:
    cells: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        cells[result["party"], result["stage"]].append(result)
    print(f"\n{'party':34}" + "".join(f"{stage:>28}" for stage in STAGES))
    for party in PARTIES:
        line = f"{party:34}"
        for stage in STAGES:
            found = cells[party, stage]
            failed = sum(bool(r["failures"]) for r in found)
            minutes = sum(r["seconds"] for r in found) / 60
            told = f"{len(found)} cases, {failed} failed, {minutes:.1f} min" if found else "-"
            line += f"{told:>28}"
        print(line)
    every = [result for found in cells.values() for result in found]
    failed = sum(bool(r["failures"]) for r in every)
    came = sum(r["came"] for r in every)
    waited = max((r["waited"] for r in every), default=0.0)
    print(
        f"\n{len(every)} cases, {failed} failures, {seconds / 60:.0f} minutes; the party came to "
        f"its place in {came}; the longest wait for the step was {waited:.2f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
