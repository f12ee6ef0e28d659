"""Numbers for people: bytes, counts, seconds."""

from __future__ import annotations

import humanize


def size(value: int | float | None) -> str:
    """Return bytes as people read them, in powers of two; "?" when nobody knows."""
    return "?" if value is None else str(humanize.naturalsize(value, binary=True))


def count(value: int | None) -> str:
    """Return a number with commas between its thousands; "?" when nobody knows."""
    return "?" if value is None else str(humanize.intcomma(value))


def duration(seconds: float) -> str:
    """Return a time as people say it, in at most two units."""
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"),
             (whole % 60, "s")]  # fmt: skip
    first = next((at for at, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{n} {unit}" for n, unit in parts[first : first + 2] if n or first == 3)
