"""Numbers for people: bytes, counts, seconds; with nothing but Python, for the controller too."""

from __future__ import annotations

_STEP = 1024
_LARGER = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(value: int | float | None) -> str:
    """Return bytes as people read them, in powers of two; "?" when nobody knows."""
    if value is None:
        return "?"
    if abs(value) < _STEP:
        return f"{int(value)} {'Byte' if abs(value) == 1 else 'Bytes'}"
    number, power = value / _STEP, 0
    # What rounds to 1,024 of a unit is one of the next.
    while abs(round(number, 1)) >= _STEP and power < len(_LARGER) - 1:
        number, power = number / _STEP, power + 1
    return f"{number:.1f} {_LARGER[power]}"


def count(value: int | None) -> str:
    """Return a number with commas between its thousands; "?" when nobody knows."""
    return "?" if value is None else f"{value:,}"


def duration(seconds: float) -> str:
    """Return a time as people say it, in at most two units."""
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"),
             (whole % 60, "s")]  # fmt: skip
    first = next((at for at, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{n} {unit}" for n, unit in parts[first : first + 2] if n or first == 3)
