"""Rows as lines of JSON: an array of a row's values, in the order of the file's first line.

PostgreSQL writes them itself, in such CSV as is a few replacements away from JSON. So every value
stands there as PostgreSQL writes and reads it, whatever its type, and null is NULL alone. Rows of
SQLite have its own values: texts, numbers, null.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

# All values in quotes but NULL, quotes and backslashes with a backslash before them.
CSV = r"FORMAT csv, FORCE_QUOTE *, ESCAPE E'\\', NULL 'null'"
# Signs that JSON wants escaped and that CSV leaves as they are, apart from the end of a line.
_ESCAPES = {bytes((sign,)): b"\\u%04x" % sign for sign in range(1, 0x20) if sign != 0x0A}
_ESCAPES |= {b"\t": rb"\t", b"\b": rb"\b", b"\f": rb"\f", b"\r": rb"\r"}
_BYTES = "hex"
WENT_BY = "went_by"
# What COPY escapes in a text.
_IN_COPY = {
    ord(sign): f"\\{letter}" for sign, letter in zip("\\\b\f\n\r\t\v", "\\bfnrtv", strict=True)
}


def header(columns: Iterable[str], *, ruled: bool = False) -> bytes:
    """Write the first line of a file, which names its columns; the rule of a row is the last."""
    return _line([*columns, WENT_BY] if ruled else list(columns))


def count_by_rule(lines: bytes) -> Counter[str]:
    """Count lines by the rule that they name last; those that name none are left out."""
    named = Counter(line.rpartition(b",")[2] for line in lines.splitlines())
    del named[b"null]"]
    return Counter({name[1:-2].decode(): rows for name, rows in named.items()})


def of_csv(rows: Sequence[bytes]) -> bytes:
    """Make lines of rows as COPY writes them with `CSV`, each with its end of line."""
    text = b"[".join((b"", *rows))
    if text.count(b"\n") != len(rows):
        text = b"[".join((b"", *(row[:-1].replace(b"\n", rb"\n") + b"\n" for row in rows)))
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    return text.replace(b"\n", b"]\n")


def of_rows(rows: Iterable[Sequence[Any]]) -> bytes:
    """Make lines of rows as the driver of SQLite returns them."""
    return b"".join(_line([_plain(value) for value in row]) for row in rows)


def values(line: bytes) -> list[Any]:
    """Read the values of a line."""
    told: list[Any] = json.loads(line)
    return told


def to_sqlite(value: Any) -> Any:
    """Return a value as the driver of SQLite takes it."""
    return bytes.fromhex(value[_BYTES]) if isinstance(value, dict) else value


def to_copy(row: Iterable[str | None]) -> str:
    """Write a row of texts in the text form of COPY."""
    return "\t".join("\\N" if value is None else value.translate(_IN_COPY) for value in row) + "\n"


def _plain(value: Any) -> Any:
    return {_BYTES: value.hex()} if isinstance(value, bytes) else value


def _line(row: list[Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
