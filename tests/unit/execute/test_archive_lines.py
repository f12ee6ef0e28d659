"""Lines of an archive are JSON whatever stands in the rows; the manifest names this version."""

from __future__ import annotations

import json

import pytest
from prefect_maintenance.execute.archive_lines import of_copy, of_rows, to_copy, to_sqlite, values
from prefect_maintenance.execute.archive_manifest import VERSION
from tools import read_yaml

from lab.environments import ROOT

# As COPY writes them, and what they mean.
ROWS = [
    (b"a\tb\\\\N\t\\N\n", ["a", "b\\N", None]),
    (b'"\t\\\\\\\\v\\v\t\\\\v\n', ['"', "\\\\v\x0b", "\\v"]),
    (b"\x01\x1b[0m\t\\t\\n\\r\\b\\f\t\n", ["\x01\x1b[0m", "\t\n\r\b\f", ""]),
    ('ä€😀\t","\t\\N\n'.encode(), ["ä€😀", '","', None]),
]


@pytest.mark.parametrize(("copied", "row"), ROWS)
def test_a_row_of_copy_becomes_a_line_of_json_and_the_same_row_again(
    copied: bytes, row: list[str | None]
) -> None:
    assert values(of_copy(copied)) == row
    assert to_copy(row).encode() == copied


def test_rows_become_a_line_each() -> None:
    lines = of_copy(b"".join(copied for copied, _ in ROWS)).splitlines()
    assert [json.loads(line) for line in lines] == [row for _, row in ROWS]


def test_values_of_sqlite_come_back_as_they_were() -> None:
    row = (1, 1.1, 1.0, "1", None, "null", b"\x00\xff", "a\nb")
    assert [to_sqlite(value) for value in values(of_rows([row]))] == list(row)


def test_the_manifest_names_the_version_of_the_collection() -> None:
    assert read_yaml(ROOT / "collection" / "galaxy.yml")["version"] == VERSION
