"""Lines of an archive are JSON whatever stands in the rows; the manifest names this version."""

from __future__ import annotations

import json

import pytest
from prefect_maintenance.execute.archive_lines import of_csv, of_rows, to_copy, to_sqlite, values
from prefect_maintenance.execute.archive_manifest import VERSION
from tools import read_yaml

from lab.environments import ROOT

# As COPY writes them in CSV, and what they mean.
ROWS = [
    (b'"a","b\\\\N",null\n', ["a", "b\\N", None]),
    (b'"\\"","\\\\\\\\v\x0b","\\\\v"\n', ['"', "\\\\v\x0b", "\\v"]),
    (b'"\x01\x1b[0m","\t\n\r\b\f",""\n', ["\x01\x1b[0m", "\t\n\r\b\f", ""]),
    (b'"\n","null","\n\\"\n"\n', ["\n", "null", '\n"\n']),
    ('"ä€😀","\\",\\"",null\n'.encode(), ["ä€😀", '","', None]),
]
# As COPY takes them in its text form.
TEXTS = [
    ("a\tb\\\\N\t\\N\n", ["a", "b\\N", None]),
    ('"\t\\\\\\\\v\\v\t\\\\v\n', ['"', "\\\\v\x0b", "\\v"]),
    ("\x01\x1b[0m\t\\t\\n\\r\\b\\f\t\n", ["\x01\x1b[0m", "\t\n\r\b\f", ""]),
]


@pytest.mark.parametrize(("copied", "row"), ROWS)
def test_a_row_of_copy_becomes_a_line_of_json(copied: bytes, row: list[str | None]) -> None:
    assert values(of_csv([copied])) == row


@pytest.mark.parametrize(("text", "row"), TEXTS)
def test_a_row_comes_back_as_copy_takes_it(text: str, row: list[str | None]) -> None:
    assert to_copy(row) == text


def test_rows_become_a_line_each() -> None:
    lines = of_csv([copied for copied, _ in ROWS]).splitlines()
    assert [json.loads(line) for line in lines] == [row for _, row in ROWS]


def test_values_of_sqlite_come_back_as_they_were() -> None:
    row = (1, 1.1, 1.0, "1", None, "null", b"\x00\xff", "a\nb")
    assert [to_sqlite(value) for value in values(of_rows([row]))] == list(row)


def test_the_manifest_names_the_version_of_the_collection() -> None:
    assert read_yaml(ROOT / "collection" / "galaxy.yml")["version"] == VERSION
