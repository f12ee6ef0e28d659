"""Either library reads what the other has written, and both find what was damaged."""

from __future__ import annotations

import gzip
import random
import zlib
from types import ModuleType

import pytest
from isal import isal_zlib
from prefect_maintenance.execute import archive_gzip
from prefect_maintenance.execute.archive_gzip import Unreadable, unzipped, zipped

LIBRARIES = (zlib, isal_zlib)
NOISE = random.Random(7).randbytes(40_000).hex().encode()
TEXTS = [b"", b'["a","b",null]\n' * 5000, bytes(range(256)) * 3000]

library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda one: one.__name__)


def written_by(use: ModuleType, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(archive_gzip, "LIBRARY", use)
    return b"".join(zipped(text) for text in TEXTS)


def in_blocks(file: bytes) -> list[bytes]:
    return [file[at : at + 1000] for at in range(0, len(file), 1000)]


def test_the_faster_one_is_taken_where_it_is() -> None:
    assert archive_gzip.LIBRARY is isal_zlib


@library
@pytest.mark.parametrize("reader", LIBRARIES, ids=lambda one: one.__name__)
def test_a_file_of_one_is_read_by_the_other_and_by_every_gzip(
    library: ModuleType, reader: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written_by(library, monkeypatch)
    assert gzip.decompress(file) == b"".join(TEXTS)
    monkeypatch.setattr(archive_gzip, "LIBRARY", reader)
    assert b"".join(unzipped(in_blocks(file))) == b"".join(TEXTS)


@library
def test_no_piece_is_larger_than_memory_is_to_be(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_gzip, "LIBRARY", library)
    file = zipped(bytes(20 << 20))
    assert max(map(len, unzipped([file]))) <= 1 << 20


@library
def test_a_changed_bit_or_a_lost_end_is_found(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_gzip, "LIBRARY", library)
    file = zipped(NOISE)
    # What stands before, in gzip's header, tells nothing.
    for at in range(10, len(file), len(file) // 50):
        changed = bytearray(file)
        changed[at] ^= 0x10
        with pytest.raises(Unreadable):
            list(unzipped([bytes(changed)]))
    with pytest.raises(Unreadable, match="ends too early"):
        list(unzipped([file[:-1]]))


@library
def test_what_was_compressed_wrongly_is_never_written(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress = library.compress
    monkeypatch.setattr(archive_gzip, "LIBRARY", library)
    for wrong in (b"something else", b""):
        monkeypatch.setattr(library, "compress", lambda _, *how, wrong=wrong: compress(wrong, *how))
        with pytest.raises(Unreadable, match="check the memory"):
            zipped(b"what is to be kept")
