"""Numbers for people: bytes, counts, seconds."""

from __future__ import annotations

import humanize


def size(value: int | float | None) -> str:
    """Return bytes as people read them, in powers of two; "?" when nobody knows."""
    return "?" if value is None else str(humanize.naturalsize(value, binary=True))


def count(value: int | None) -> str:
    """Return a number with commas between its thousands; "?" when nobody knows."""
    return "?" if value is None else str(humanize.intcomma(value))
