"""Break each guard of the engine and of the Ansible content, and see a test fail for it.

The guards are data (tests/guards.toml): a file, a text in it, its broken replacement, and the
tests that must fail. Each is broken by itself in a copy of the tree, never in the tree.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from . import end_orderly
from .broken import Bench, Guard, Result, copied
from .environments import ROOT

LIST = ROOT / "tests" / "guards.toml"
TABLE = ROOT / "docs" / "guards.md"


def read(path: Path = LIST) -> list[Guard]:
    """Read the guards; each has a name of its own."""
    found = [
        Guard(**{**entry, "tests": tuple(entry["tests"])})
        for entry in tomllib.loads(path.read_text())["guard"]
    ]
    if len({guard.name for guard in found}) != len(found):
        raise ValueError(f"{path} names a guard twice")
    return found


def mismatch(guard: Guard, root: Path = ROOT) -> str:
    """Say why a guard cannot be broken as the list says; nothing when it can."""
    path = root / guard.file
    if not path.is_file():
        return f"there is no file {guard.file}; correct `file` in {LIST.name}"
    source = path.read_text()
    count = source.count(guard.text)
    if count == 1:
        return ""
    what = f"{guard.file} has the text {count} times instead of once:\n      {guard.text!r}"
    if count:
        return f"{what}\n    make it longer in {LIST.name}"
    lines = [line.strip() for line in source.splitlines()]
    first = max(guard.text.splitlines(), key=lambda line: len(line.strip())).strip()
    near = difflib.get_close_matches(first, lines, n=3, cutoff=0.4)
    closest = "".join(f"\n      {lines.index(line) + 1}: {line}" for line in near)
    return f"{what}\n    correct it in {LIST.name}; the closest lines are{closest or ' none'}"


def sample(guards: Sequence[Guard], number: int) -> list[Guard]:
    """Return so many of the quick guards, spread over the list."""
    quick = [guard for guard in guards if guard.quick]
    number = min(number, len(quick))
    return [quick[n * len(quick) // number] for n in range(number)]


def check(guards: Sequence[Guard], processes: int) -> list[Result]:
    """Break each guard in turn; prints what comes of it."""
    faults = {guard: mismatch(guard) for guard in guards}
    results = [Result(guard, 0.0, fault=fault) for guard, fault in faults.items() if fault]
    for result in results:
        show(result)
    left = [guard for guard in guards if not faults[guard]]
    tests = sorted({test for guard in left for test in guard.tests})
    with ExitStack() as opened:
        copies = [opened.enter_context(copied()) for _ in range(processes)]
        bench = Bench(copies)
        pool = ThreadPoolExecutor(processes)
        # Whoever ends this run need not wait for the guards that are still to come.
        opened.callback(pool.shutdown)
        opened.callback(bench.stop)
        opened.callback(pool.shutdown, wait=False, cancel_futures=True)
        print(f"{len(tests)} tests of {len(left)} guards, unbroken", flush=True)
        unwell = bench.unbroken(tests) if tests else {}

        def one(guard: Guard) -> Result:
            named = [unwell[test] for test in guard.tests if test in unwell]
            result = Result(guard, 0.0, fault=named[0]) if named else bench.broken(guard)
            show(result)
            return result

        results += pool.map(one, left)
    return sorted(results, key=lambda result: guards.index(result.guard))


def show(result: Result) -> None:
    """Print one line for a guard that a test keeps, and all that is known of another."""
    if result.fault:
        print(f"NOT KEPT  {result.guard.name}\n    {result.fault}", flush=True)
    else:
        print(f"kept {result.seconds:5.1f} s  {result.guard.name}", flush=True)


def table(results: Sequence[Result]) -> str:
    """Return the page that tells the last full result."""
    kept = sum(not result.fault for result in results)
    rows = [
        f"| {result.guard.name} | `{Path(result.guard.file).name}`: {_code(result.guard.text)} → "
        f"{_code(result.guard.broken)} | {_test(result.failed)} | {result.seconds:.0f} |"
        for result in results
    ]
    return "\n".join((_HEAD.format(kept=kept, all=len(results)), *rows, ""))


_HEAD = """# Guards, and the test that keeps each

A guard is a condition, a lock or a setting that keeps the maintenance from a harm: a row lost, a
secret shown, a server held up. A test that passes with and without it proves nothing. So each
guard is broken by itself in a copy of the tree, and one of the tests that are named for it must
fail. The list is `tests/guards.toml`.

```console
make guards                                     # every guard
make guards GUARDS="--only 'no rewrite begins'" # those with these words in their name
make guards GUARDS="--sample 12"                # as in every make test: quick ones only
make guards JOBS=1 GUARDS=--write               # every guard, and this page anew
```

A change may move the text of a guard. Then the run, and a unit test, name the file, the text and
the closest lines; correct the entry in the list. A guard that is new gets an entry, and where no
test fails for it, a test.

## The last full run

A test failed for {kept} of {all} broken guards.

| Guard | Broken | Test that failed | Seconds |
|---|---|---|---|"""


def _test(ident: str) -> str:
    """Write a test's id without its folders; `none` where there is none."""
    file, _, name = ident.partition("::")
    return _code(f"{Path(file).name}::{name}") if ident else "none"


def _code(text: str) -> str:
    """Write a text as code in a cell of a table."""
    plain = " ".join(text.split()).replace("|", "\\|")
    ticks = "``" if "`" in plain else "`"
    return f"{ticks}{plain}{ticks}" if plain else "nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the guards that are asked for; returns 1 when one of them is not kept."""
    parser = argparse.ArgumentParser(prog="lab.guards", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME",
                        help="guards whose name has this in it; may be given again")  # fmt: skip
    parser.add_argument("--sample", type=int, help="so many quick guards, spread over the list")
    parser.add_argument("--processes", type=int, default=1, help="sessions of pytest at a time")
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.relative_to(ROOT)}")
    asked = parser.parse_args(arguments)
    guards = [g for g in read() if not asked.only or any(part in g.name for part in asked.only)]
    if asked.sample:
        guards = sample(guards, asked.sample)
    if not guards:
        parser.error("no guard has such a name")
    if asked.write and (asked.only or asked.sample):
        parser.error("the page tells a full run: leave out --only and --sample")
    end_orderly()
    results = check(guards, asked.processes)
    if asked.write:
        TABLE.write_text(table(results))
    faulty = [result.guard.name for result in results if result.fault]
    print(f"{len(results) - len(faulty)} of {len(results)} guards are kept by a test")
    for name in faulty:
        print(f"  not kept: {name}")
    return int(bool(faulty))


if __name__ == "__main__":
    sys.exit(main())
