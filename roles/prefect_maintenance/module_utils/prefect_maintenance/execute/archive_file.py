"""One file of an archive: rows of a table, compressed while they come, and read back.

Each piece is a member of the gzip file of its own, so that several threads compress at a time; they
let go of the interpreter meanwhile, so the database's next rows are read beside them.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from .archive_gzip import Unreadable, zipped
from .archive_lines import count_by_rule, header

# Bytes that are read back at a time, and pieces that may wait to be written.
_BLOCK, _WAITING = 1 << 16, 8


@dataclass(frozen=True)
class _Member:
    """A part of a gzip file, with the number of its lines and what they say of rules."""

    lines: int
    by_rule: Counter[str]
    compressed: bytes


class ArchiveFile:
    """A file that grows by what is kept; what was written but not kept is written over.

    Attributes:
        path: where it lies.
        table: whose rows it has.
        columns: their names, in the order of the values of each line.
        rows: that are kept.
        bytes: of the file that are kept.
        by_rule: rows that are kept, by the rule that let them go; None where lines do not say it.
    """

    def __init__(
        self,
        path: Path,
        table: str,
        columns: tuple[str, ...],
        workers: Executor,
        *,
        ruled: bool = False,
    ) -> None:
        self.path = path
        self.table = table
        self.columns = columns
        self.rows = self.bytes = 0
        self.by_rule: Counter[str] | None = Counter() if ruled else None
        self._kept = hashlib.sha256()
        self._workers = workers
        self._waiting: deque[Future[_Member]] = deque()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._begin()

    @property
    def sha256(self) -> str:
        """The sum of the bytes that are kept, as they were read back."""
        return self._kept.hexdigest()

    def write(self, lines: Callable[[], bytes]) -> None:
        """Take whole rows; another thread makes lines of them."""
        if not self.bytes and not self._length:
            self._put(zipped(header(self.columns, ruled=self.by_rule is not None)))
        if len(self._waiting) >= _WAITING:
            self._write_next()
        self._waiting.append(self._workers.submit(_member, lines, self.by_rule is not None))

    def keep(self, rows: int) -> None:
        """Make sure that so many rows, which came since the last time, are on the disk.

        Raises:
            OSError: they cannot be written.
            Unreadable: something else is there than was written, or nothing.
        """
        while self._waiting:
            self._write_next()
        if not self._length:
            return
        os.fsync(self._descriptor)
        self._require_there()
        self._read_back(rows)
        self.rows += rows
        if self.by_rule is not None:
            self.by_rule += self._ruled
        self.bytes += self._length
        self._begin()

    def drop(self) -> None:
        """Forget what came since it was last kept."""
        while self._waiting:
            self._waiting.popleft().exception()
        self._begin()

    def close(self) -> None:
        """Cut off what was not kept, and close the file."""
        self.drop()
        os.ftruncate(self._descriptor, self.bytes)
        os.close(self._descriptor)

    def _begin(self) -> None:
        self._length = self._lines = 0
        self._ruled: Counter[str] = Counter()
        self._written = self._kept.copy()

    def _write_next(self) -> None:
        member = self._waiting.popleft().result()
        self._lines += member.lines
        self._ruled += member.by_rule
        self._put(member.compressed)

    def _put(self, compressed: bytes) -> None:
        self._written.update(compressed)
        while compressed:
            done = os.pwrite(self._descriptor, compressed, self.bytes + self._length)
            self._length += done
            compressed = compressed[done:]

    def _require_there(self) -> None:
        """Make sure that the name leads to the file; an open file outlives its name."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            raise Unreadable(f"somebody removed {self.path}") from None
        if not os.path.samestat(found, os.fstat(self._descriptor)):
            raise Unreadable(f"somebody put another file in the place of {self.path}")

    def _read_back(self, rows: int) -> None:
        """Compare what lies on the disk with what was written."""
        found = self._kept.copy()
        # The disk is to be asked, not what the system remembers of writing it.
        os.posix_fadvise(self._descriptor, self.bytes, self._length, os.POSIX_FADV_DONTNEED)
        for block in blocks(self._descriptor, self.bytes, self._length):
            found.update(block)
        if found.digest() != self._written.digest() or self._lines != rows:
            raise Unreadable(
                f"{self.path} was read back and is not what was written: {rows} rows of "
                f"{self.table}"
            )
        self._kept = found


def _member(lines: Callable[[], bytes], ruled: bool) -> _Member:
    """Make a member of a gzip file of lines."""
    made = lines()
    by_rule = count_by_rule(made) if ruled else Counter()
    return _Member(made.count(b"\n"), by_rule, zipped(made))


def blocks(descriptor: int, begin: int, length: int) -> Iterator[bytes]:
    """Yield so many bytes of a file in pieces, or fewer when it ends before."""
    while length and (block := os.pread(descriptor, min(_BLOCK, length), begin)):
        yield block
        begin += len(block)
        length -= len(block)
