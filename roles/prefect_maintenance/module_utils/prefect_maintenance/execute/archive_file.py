"""One file of an archive: rows of a table, compressed while they come, and read back.

Each piece is a member of the gzip file of its own, so that several threads compress at a time; they
let go of the interpreter meanwhile, so the database's next rows are read beside them.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

from .archive_gzip import Unreadable, zipped
from .archive_lines import header

# Bytes that are read back at a time, and pieces that may wait to be written.
_BLOCK, _WAITING = 1 << 16, 8


class ArchiveFile:
    """A file that grows by what is kept; what was written but not kept is written over.

    Attributes:
        path: where it lies.
        table: whose rows it has.
        columns: their names, in the order of the values of each line.
        rows: that are kept.
        bytes: of the file that are kept.
    """

    def __init__(self, path: Path, table: str, columns: tuple[str, ...], workers: Executor) -> None:
        self.path = path
        self.table = table
        self.columns = columns
        self.rows = self.bytes = 0
        self._kept = hashlib.sha256()
        self._workers = workers
        self._waiting: deque[Future[tuple[int, bytes]]] = deque()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._begin()

    @property
    def sha256(self) -> str:
        """The sum of the bytes that are kept, as they were read back."""
        return self._kept.hexdigest()

    def write(self, lines: Callable[[], bytes]) -> None:
        """Take whole rows; another thread makes lines of them."""
        if not self.bytes and not self._length:
            self._put(zipped(header(self.columns)))
        if len(self._waiting) >= _WAITING:
            self._write_next()
        self._waiting.append(self._workers.submit(_compressed, lines))

    def keep(self, rows: int) -> None:
        """Make sure that so many rows, which came since the last time, are on the disk.

        Raises:
            OSError: they cannot be written.
            Unreadable: something else is there than was written.
        """
        while self._waiting:
            self._write_next()
        if not self._length:
            return
        os.fsync(self._descriptor)
        self._read_back(rows)
        self.rows += rows
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
        self._written = self._kept.copy()

    def _write_next(self) -> None:
        lines, compressed = self._waiting.popleft().result()
        self._lines += lines
        self._put(compressed)

    def _put(self, compressed: bytes) -> None:
        self._written.update(compressed)
        while compressed:
            done = os.pwrite(self._descriptor, compressed, self.bytes + self._length)
            self._length += done
            compressed = compressed[done:]

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


def _compressed(lines: Callable[[], bytes]) -> tuple[int, bytes]:
    """Make a member of a gzip file of lines; returns their number and its bytes."""
    made = lines()
    return made.count(b"\n"), zipped(made)


def blocks(descriptor: int, begin: int, length: int) -> Iterator[bytes]:
    """Yield so many bytes of a file in pieces, or fewer when it ends before."""
    while length and (block := os.pread(descriptor, min(_BLOCK, length), begin)):
        yield block
        begin += len(block)
        length -= len(block)
