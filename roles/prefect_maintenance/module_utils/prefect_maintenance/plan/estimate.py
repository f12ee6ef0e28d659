"""What the work on a table takes and what it gives back, estimated before it is done.

Pure functions. The model counts the bytes that each way reads and writes; its rates were measured
on two cores with the data in memory (docs/benchmarks.md), so its seconds compare ways rather than
promise times. Bytes of WAL and of disk hold anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..measure.sizes import TableSize

# Rows a second that leave in slices of the heap or of time; by their ids, under a guard; on
# SQLite; and flow runs that leave through the API, which has pauses for its other callers.
_SLICED, _BY_ID, _ON_SQLITE, _BY_API = 1_200_000, 90_000, 30_000, 25
# Bytes a second: survivors written with their indexes; pages that VACUUM cleans; pages read.
_COPIED, _VACUUMED, _READ = 90e6, 450e6, 2.5e9
# A page is written to the WAL whole when it is first changed after a checkpoint, again in part
# by VACUUM; each deleted row adds a record (PostgreSQL manual, full_page_writes).
_PAGE, _ROW_RECORD, _VACUUM_RECORD = 8192, 60, 0.4
_COPY_WAL = 1.1
# Against VACUUM FULL of the same table, and for each of its indexes more; bytes of WAL for each
# that is kept: a moved row gets a new entry in every index, and each index is built anew.
_COMPACTED, _COMPACTED_INDEX, _COMPACT_WAL, _CUT_LOCK_MS = 3.0, 0.4, 4.0, 50
# SQLite moves pages from the end of its file to free ones in steps, with a pause after each.
_CUT_OFF, _STEP_LOCK_MS = 15e6, 100
# Locks, renames, dropping the old files.
_SWAP_SECONDS, _SWAP_LOCK_MS = 0.4, 10


@dataclass(frozen=True)
class Estimate:
    """What comes back from a table, and what that takes.

    Attributes:
        bytes_back: that the table is smaller afterwards.
        seconds: of work on it, on a machine as fast as that of the benchmarks.
        wal_bytes: written to the WAL.
        lock_ms: for which everybody is kept out at a time.
    """

    bytes_back: int = 0
    seconds: float = 0.0
    wal_bytes: int = 0
    lock_ms: int = 0

    def joined(self, later: Estimate) -> Estimate:
        """Return the estimate of this work and of later work on the same table."""
        return Estimate(
            bytes_back=self.bytes_back + later.bytes_back,
            seconds=round(self.seconds + later.seconds, 3),
            wal_bytes=self.wal_bytes + later.wal_bytes,
            lock_ms=max(self.lock_ms, later.lock_ms),
        )


def in_all(estimates: Mapping[str | None, Estimate]) -> Estimate:
    """Return the estimate of the whole work.

    Args:
        estimates: by table; None is an SQLite file as a whole. What its tables lose comes back
            with the file or not at all.
    """
    whole = Estimate()
    for estimate in estimates.values():
        whole = whole.joined(estimate)
    if None not in estimates:
        return whole
    return Estimate(estimates[None].bytes_back, whole.seconds, whole.wal_bytes, whole.lock_ms)


def of_deletes(size: TableSize, goes: int, ordered: float, *, rewritten: bool = False) -> Estimate:
    """Estimate deleting rows of a table in slices, and the VACUUM that cleans up after it.

    Args:
        size: the table before.
        goes: rows that go.
        ordered: how closely age follows the place on disk, from 0 to 1.
        rewritten: the table is written anew afterwards, so that VACUUM finds nothing to do.
    """
    touched = _touched(size, goes, ordered)
    indexes = size.index_bytes if goes else 0
    return Estimate(
        seconds=goes / _SLICED + (touched + indexes) / _VACUUMED,
        wal_bytes=int(touched * (1 + (not rewritten) * _VACUUM_RECORD) + goes * _ROW_RECORD),
    )


def of_rewrite(size: TableSize, kept_bytes: int) -> Estimate:
    """Estimate copying what is kept of a table, and the swap."""
    return Estimate(
        seconds=_SWAP_SECONDS + _copying(size, kept_bytes),
        wal_bytes=int(_COPY_WAL * kept_bytes),
        lock_ms=_SWAP_LOCK_MS,
    )


def of_full(size: TableSize, kept_bytes: int) -> Estimate:
    """Estimate VACUUM FULL of a table: the same copy, behind a lock."""
    seconds = _copying(size, kept_bytes)
    return Estimate(
        seconds=seconds, wal_bytes=int(_COPY_WAL * kept_bytes), lock_ms=int(1000 * seconds)
    )


def of_compaction(size: TableSize, kept_bytes: int) -> Estimate:
    """Estimate moving what is kept of a table to its begin, and its indexes built anew."""
    return Estimate(
        seconds=(_COMPACTED + _COMPACTED_INDEX * size.indexes) * _copying(size, kept_bytes),
        wal_bytes=int(_COMPACT_WAL * kept_bytes),
        lock_ms=_CUT_LOCK_MS,
    )


def of_file(size: TableSize, kept_bytes: int) -> Estimate:
    """Estimate VACUUM of an SQLite file, which has no WAL that counts."""
    seconds = _copying(size, kept_bytes)
    return Estimate(seconds=seconds, lock_ms=int(1000 * seconds))


def of_index(bytes_back: int, made: int) -> Estimate:
    """Estimate building an index of so many bytes anew beside everybody's work."""
    return Estimate(bytes_back=bytes_back, seconds=made / _COPIED, wal_bytes=int(_COPY_WAL * made))


def of_file_compaction(gives_back: int) -> Estimate:
    """Estimate cutting the free pages off an SQLite file in small steps, pauses included."""
    return Estimate(seconds=gives_back / _CUT_OFF, lock_ms=_STEP_LOCK_MS)


def of_deletes_by_id(goes: int) -> Estimate:
    """Estimate deleting rows by their ids, one guarded batch after the other, on PostgreSQL."""
    return Estimate(seconds=goes / _BY_ID, wal_bytes=goes * _ROW_RECORD)


def of_deletes_on_sqlite(goes: int) -> Estimate:
    """Estimate deleting rows of an SQLite file and the pauses that leave its server its turn."""
    return Estimate(seconds=goes / _ON_SQLITE)


def of_calls(runs: int) -> Estimate:
    """Estimate the API's part of deleting so many flow runs through it."""
    return Estimate(seconds=runs / _BY_API)


def _touched(size: TableSize, goes: int, ordered: float) -> float:
    """Return the bytes of the pages from which rows go."""
    heap = size.heap_bytes + size.toast_bytes
    share = size.share(goes)
    per_page = max(1.0, size.rows * _PAGE / heap) if heap else 1.0
    # Rows that go lie side by side, or anywhere: then few of them touch many pages.
    scattered = 1 - float((1 - share) ** per_page)
    return heap * (ordered * share + (1 - ordered) * scattered)


def _copying(size: TableSize, kept_bytes: int) -> float:
    return size.bytes / _READ + kept_bytes / _COPIED
