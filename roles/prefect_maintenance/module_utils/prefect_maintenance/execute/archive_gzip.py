"""gzip by the faster of two libraries: isal where the interpreter has it, else Python's own.

Both write what any gzip reads, and either reads what the other has written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import MaintenanceError

try:
    from isal import isal_zlib
except ImportError:
    LIBRARY: Any = zlib
else:
    LIBRARY = isal_zlib

# The fastest that finds repetitions: the others take a multiple of the time for a few percent.
_LEVEL = 1
_GZIP = zlib.MAX_WBITS | 16
# Bytes that one block may become at a time.
_MOST = 1 << 20


class Unreadable(MaintenanceError):
    """What lies in an archive is not what was written to it."""


def zipped(text: bytes) -> bytes:
    """Make a member of a gzip file, which was unpacked again and is what it was made of.

    Raises:
        Unreadable: it is something else.
    """
    member: bytes = LIBRARY.compress(text, _LEVEL, _GZIP)
    try:
        same = LIBRARY.decompress(member, _GZIP) == text
    except LIBRARY.error:
        same = False
    if not same:
        raise Unreadable("rows were compressed and are not what they were; check the memory")
    return member


def unzipped(compressed: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the contents of a gzip file of any number of members, in pieces of bounded size.

    Raises:
        Unreadable: it is damaged.
    """
    try:
        yield from _members(compressed)
    except LIBRARY.error as error:
        raise Unreadable(f"a file of the archive is damaged: {error}") from None


def _members(compressed: Iterable[bytes]) -> Iterator[bytes]:
    member = None
    for block in compressed:
        while block:
            if member is None:
                member = LIBRARY.decompressobj(_GZIP)
            yield member.decompress(block, _MOST)
            block = member.unused_data if member.eof else member.unconsumed_tail
            if member.eof:
                member = None
    if member is not None:
        yield member.flush()
        if not member.eof:
            raise LIBRARY.error("it ends too early")
