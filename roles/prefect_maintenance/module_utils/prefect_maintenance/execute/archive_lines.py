"""Rows as lines of JSON: an array of a row's values, in the order of the file's first line.

PostgreSQL writes them itself, in the text form of COPY, which is a few replacements away from
JSON. So every value stands there as PostgreSQL writes and reads it, whatever its type, and null is
NULL alone. Rows of SQLite have its own values: texts, numbers, null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

# Signs that JSON wants escaped and COPY leaves as they are; it escapes the others itself.
_CONTROLS = [bytes((sign,)) for sign in range(1, 0x20) if sign not in b"\b\t\n\v\f\r"]
_CONTROL = re.compile(b"[" + re.escape(b"".join(_CONTROLS)) + b"]")
# The one escape of COPY that JSON has not; the first half steps over backslashes.
_ESCAPE = re.compile(rb"\\\\|\\v")
_BYTES = "hex"


def header(columns: Iterable[str]) -> bytes:
    """Write the first line of a file, which names its columns."""
    return _line(list(columns))


def of_copy(rows: bytes) -> bytes:
    """Make lines of whole rows in the text form of COPY.

    A backslash is escaped in both forms, and so is what else would break a line, so only quotes,
    the ends of values and rows, and NULL differ. No value can look like NULL: its backslash
    would be a double one.
    """
    if b"\\v" in rows:
        rows = _ESCAPE.sub(lambda found: rb"\u000b" if found[0] == rb"\v" else found[0], rows)
    if any(sign in rows for sign in _CONTROLS):
        rows = _CONTROL.sub(lambda found: b"\\u%04x" % found[0][0], rows)
    inner = rows[:-1].replace(b'"', b'\\"').replace(b"\t", b'","').replace(b"\n", b'"]\n["')
    return (b'["' + inner + b'"]\n').replace(b'"\\N"', b"null")


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
    return "\t".join("\\N" if value is None else _escaped(value) for value in row) + "\n"


def _escaped(value: str) -> str:
    value = value.replace("\\", "\\\\").replace("\t", "\\t")
    return value.replace("\n", "\\n").replace("\r", "\\r")


def _plain(value: Any) -> Any:
    return {_BYTES: value.hex()} if isinstance(value, bytes) else value


def _line(row: list[Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
