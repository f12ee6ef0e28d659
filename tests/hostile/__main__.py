"""Play every case: each step, each party, each statement; print a table of what came of it.

Several processes play, each with a cluster of its own. The cases come in an order that looks like
chance and is always the same, so that a part of them is a fair sample. Each result is written
down; the next call goes on where the last one ended, as long as engine and parties are the same.
Exits with 1 when a case failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import prefect_maintenance
import pytest

from lab import end_orderly

from .cases import PARTIES, Result, missing, play
from .parties import Party
from .place import Place
from .ruled import RULED, acts
from .stage import STAGES, Stage, Theatre, lend
from .turns import turns

_PATIENCE = 1.0
_JOURNALS = Path(".cache/hostile")


def main() -> int:
    """Play what the arguments name, everything without them; returns the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--stage", action="append", choices=list(STAGES), help="all")
    options.add_argument("--party", action="append", choices=list(PARTIES), help="all")
    options.add_argument("--place", default="", help="only statements that contain this")
    options.add_argument("--minutes", type=float, default=float("inf"), help="no end")
    options.add_argument("--patience", type=float, default=_PATIENCE, help="seconds")
    options.add_argument("--again", action="store_true", help="forget what was played before")
    options.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    asked = options.parse_args()
    journal = _journal()
    if asked.shard is not None:
        end_orderly()
        _play_shard(asked, {_key(r) for r in _read(journal)})
        return 0
    if asked.again:
        journal.unlink(missing_ok=True)
    with ThreadPoolExecutor(asked.processes) as pool:
        try:
            codes = list(pool.map(lambda shard: _shard(shard, journal), range(asked.processes)))
        except KeyboardInterrupt:
            codes = [1]  # The processes were interrupted too; what they played is written down.
    results = [
        result
        for result in _read(journal)
        if result["stage"] in (asked.stage or STAGES)
        and result["party"] in (asked.party or PARTIES)
        and asked.place in result["place"]
    ]
    _show(results)
    return 1 if any(r["failures"] for r in results) or any(codes) else 0


def _journal() -> Path:
    """Return the file of results, another one for each state of the engine and of the parties."""
    digest = hashlib.sha256()
    for folder in (Path(prefect_maintenance.__file__).parent, Path(__file__).parent):
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.read_bytes())
    _JOURNALS.mkdir(parents=True, exist_ok=True)
    return _JOURNALS / f"{digest.hexdigest()[:12]}.jsonl"


def _read(journal: Path) -> list[dict[str, Any]]:
    if not journal.exists():
        return []
    return [json.loads(line) for line in journal.read_text().splitlines()]


def _key(result: dict[str, Any]) -> tuple[str, str, str]:
    return result["stage"], result["party"], result["place"]


def _shard(number: int, journal: Path) -> int:
    """Let a process play its part, and write down what it tells; returns its exit code."""
    command = [sys.executable, "-m", "tests.hostile", *sys.argv[1:], "--shard", str(number)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        journal.open("a", buffering=1) as notes,
    ):
        assert process.stdout
        for line in process.stdout:
            if not line.startswith("{"):
                print(line, end="", flush=True)
                continue
            notes.write(line)
            result = json.loads(line)
            for failure in result["failures"]:
                print(
                    f"FAILED {result['stage']} | {result['party']} | {result['place']} | {failure}"
                    f"{' | ' + result['error'] if result['error'] else ''}",
                    flush=True,
                )
    return process.returncode


def _play_shard(asked: argparse.Namespace, played: set[tuple[str, str, str]]) -> None:
    began = time.monotonic()
    with lend() as here:
        cases = _cases(asked, here)
        mine = [case for case in cases if case[0] % asked.processes == asked.shard]
        if asked.shard == 0:
            sent = sum(len(stage.sent) for stage in here.stages.values())
            parties = len({party.name for _, _, party, _ in cases})
            print(
                f"{parties} parties, {sent} statements that the engine sends: "
                f"{len(cases)} cases to tell apart, {len(played)} of them played before",
                flush=True,
            )
        for _, stage, party, place in mine:
            if (stage.name, party.name, str(place)) in played:
                continue
            if time.monotonic() - began > 60 * asked.minutes:
                return
            try:
                result: Result = play(here, stage, party, place, asked.patience)
            except pytest.skip.Exception as here:
                print(f"{party.name} is left out: {here}", flush=True)
                continue
            print(json.dumps(asdict(result)), flush=True)


def _cases(asked: argparse.Namespace, here: Theatre) -> list[tuple[int, Stage, Party, Place]]:
    """Return what there is to play, each with a number that tells its place in the order."""
    stages = {name: here.stage(name) for name in STAGES}
    parties = {n: party for n, party in PARTIES.items() if not missing(party, here.cluster)}
    ruled = {n: party for n, party in parties.items() if acts(RULED, n)}
    others = {n: party for n, party in parties.items() if n not in ruled}
    there = stages.pop(RULED)
    found = []
    for stage, party, place in (*turns(stages, others), *turns({RULED: there}, ruled)):
        wanted = stage.name in (asked.stage or STAGES) and party.name in (asked.party or PARTIES)
        if wanted and asked.place in str(place):
            key = f"{stage.name}/{party.name}/{place}"
            number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
            found.append((number, stage, party, place))
    return sorted(found, key=lambda case: case[0])


def _show(results: Iterable[dict[str, Any]]) -> None:
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
    seconds = sum(r["seconds"] for r in every)
    came = sum(r["came"] for r in every)
    waited = max((r["waited"] for r in every), default=0.0)
    print(
        f"\n{len(every)} cases, {failed} failures, {seconds / 60:.0f} minutes; the party came to "
        f"its place in {came}; the longest wait for the step was {waited:.2f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
