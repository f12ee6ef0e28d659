"""A copy of the tree in which one text is broken, and the tests that are carried out there."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from queue import SimpleQueue

from .environments import ROOT

# What a session of pytest says of each of its tests (-rA).
_ENDED = re.compile(r"^(PASSED|FAILED|ERROR) (\S.*?)(?: - .*)?$", re.M)
# Seconds that one test may take; a broken guard may leave it waiting for ever.
_LONGEST = 180


@dataclass(frozen=True)
class Guard:
    """One guard, and how it is broken.

    Attributes:
        name: what it keeps from happening.
        file: from the root of the tree.
        text: stands exactly once in the file.
        broken: takes its place.
        tests: pytest's ids; without a parameter every case of the test counts. One of each
            that can run here must pass, and one of all must fail when the guard is broken.
        quick: whether it is in the sample that every `make test` runs.
    """

    name: str
    file: str
    text: str
    broken: str
    tests: tuple[str, ...]
    quick: bool = False


@dataclass(frozen=True)
class Result:
    """What came of one guard: the test that failed for it, or why that is not known."""

    guard: Guard
    seconds: float
    failed: str = ""
    fault: str = ""


@contextmanager
def copied(root: Path = ROOT) -> Iterator[Path]:
    """Lend a copy of the tree, with the tools and servers of the tree itself."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="prefect-guards-") as folder:
        copy = Path(folder) / "tree"
        shared = (".cache", ".venv")
        for name in sorted({name for name in listed if name} - {*shared}):
            if os.path.lexists(root / name):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, copy / name, follow_symlinks=False)
        for name in shared:
            (copy / name).symlink_to((root / name).resolve())
        # A test installs the role from the files that git knows.
        subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)
        yield copy


class Bench:
    """Runs tests in copies of the tree, one session of pytest at a time in each."""

    def __init__(self, copies: Iterable[Path]) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for copy in copies:
            self._free.put(copy)
        self._environment = {
            # A file that is broken within a second after it was whole would not be compiled anew.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # Most of the time of a short test is the import of what it stands on.
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(["pytest", "psycopg2", "sqlalchemy", "prefect.flows"])
        self._at_work: set[ForkServerProcess] = set()

    def unbroken(self, tests: Sequence[str]) -> dict[str, str]:
        """Carry out tests in the tree as it is; returns what is wrong with each that is not well.

        A test that was skipped is not well either: it would not tell that a guard is broken.
        """
        copy = self._free.get()
        try:
            code, ended, output = self._pytest(copy, tests)
        finally:
            self._free.put(copy)
        if code not in (0, 1):
            return dict.fromkeys(tests, f"the tests do not begin:\n{output[-2000:]}")
        faults = {}
        for test in tests:
            words = {word for word, ident in ended if _is(ident, test)}
            if words - {"PASSED"}:
                faults[test] = f"{test} fails although nothing is broken"
            elif not words:
                faults[test] = f"{test} did not run here: it is skipped, or there is none"
        return faults

    def broken(self, guard: Guard) -> Result:
        """Break a guard and carry out its tests."""
        copy = self._free.get()
        path = copy / guard.file
        whole, began = path.read_text(), time.monotonic()
        try:
            path.write_text(whole.replace(guard.text, guard.broken))
            code, ended, output = self._pytest(copy, guard.tests, "-x")
        finally:
            path.write_text(whole)
            self._free.put(copy)
        seconds = time.monotonic() - began
        failed = [ident for word, ident in ended if word == "FAILED"]
        if code == 1 and failed:
            return Result(guard, seconds, failed=failed[0])
        if code == 0:
            return Result(guard, seconds, fault="its tests pass although it is broken")
        fault = f"pytest ended with {code} before a test could fail:\n{output[-2000:]}"
        return Result(guard, seconds, fault=fault)

    def stop(self) -> None:
        """End what is at work, and what that has started."""
        for process in tuple(self._at_work):
            process.terminate()
            process.join()

    def _pytest(
        self, copy: Path, tests: Sequence[str], *options: str
    ) -> tuple[int, list[tuple[str, str]], str]:
        arguments = [
            "-rA", "-p", "no:cacheprovider", "--tb=no", "-W", "ignore",
            "-o", f"timeout={_LONGEST}", *options, *tests,
        ]  # fmt: skip
        output = copy.with_name("output")
        process = self._forks.Process(
            target=_session, args=(copy, arguments, self._environment, output)
        )
        process.start()
        self._at_work.add(process)
        process.join()
        self._at_work.discard(process)
        told = output.read_text(errors="replace")
        return process.exitcode or 0, _ENDED.findall(told), told


def _session(
    copy: Path, arguments: list[str], environment: Mapping[str, str], output: Path
) -> None:
    """Be a session of pytest in a copy of the tree, and end as it does."""
    with output.open("wb") as told:
        for stream in (1, 2):
            os.dup2(told.fileno(), stream)
    os.chdir(copy)
    os.environ.update(environment)
    sys.dont_write_bytecode = True
    # What is imported from here on is the copy's.
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.split(".")[0] == "lab"]:
        del sys.modules[name]
    import pytest

    code = int(pytest.main(arguments))
    sys.stdout.flush()
    os._exit(code)


def _is(ident: str, test: str) -> bool:
    """Tell whether a test that ran is the one that was named, or a case of it."""
    return ident == test or ident.startswith(f"{test}[")
