"""What was archived before it went is told wherever a report is read."""

from __future__ import annotations

from typing import Any

from prefect_maintenance.report import archived
from prefect_maintenance.report.host_view import host_view
from prefect_maintenance.report.prometheus import exposition

ARCHIVE = {"folder": "/srv/a*b/20260701T020000Z", "rows": 1204, "bytes": 40960, "files": 1}
TOLD: dict[str, Any] = {"host": "a", "check_mode": False, "archive": {**ARCHIVE, "removed": 2}}


def test_an_archive_is_told_with_rows_bytes_folder_and_that_it_was_verified() -> None:
    rows, folder, removed = archived.sentences(TOLD)
    assert rows == "1,204 rows, 40.0 KiB in 1 file, read back and verified"
    assert folder == "in /srv/a*b/20260701T020000Z"
    assert removed == "old archives removed: 2"
    assert archived.lines(TOLD)[1:3] == ["  archived before it went:", f"    {rows}"]
    shown = archived.markdown(TOLD, lambda text: text.replace("*", r"\*"))
    assert shown[0] == "## Archived before it went"
    assert r"- in /srv/a\*b/20260701T020000Z" in shown
    assert host_view(TOLD, (), looks=False).archived == (rows, folder, removed)
    would = archived.sentences({"check_mode": True, "archive": {"rows": 0, "removed": 1}})
    assert would == ["old archives would be removed: 1"]


def test_metrics_have_the_rows_and_bytes_of_the_archive_and_zero_without_one() -> None:
    told = exposition(TOLD, "ended", so_far="", now=0)
    none = exposition({"host": "a"}, "ended", so_far="", now=0)
    for what, number in (("rows", 1204), ("bytes", 40960)):
        series = f'prefect_maintenance_last_run_archived_{what}{{host="a"}}'
        assert f"{series} {number}\n" in told
        assert f"{series} 0\n" in none


def test_a_report_without_an_archive_says_nothing_of_one() -> None:
    assert archived.sentences({}) == archived.lines({}) == archived.markdown({}, str) == []
