"""What VACUUM waits for, indexes and autovacuum stand in every form of a report."""

from __future__ import annotations

import pytest
from pages import STANDING, new_report, old_report, page
from prefect_maintenance.report.markdown import markdown
from prefect_maintenance.report.standing import lines, sections
from prefect_maintenance.report.verdict import verdict

TOLD = (
    "a transaction of psql as app, pid 7 is open; SELECT pg_terminate_backend(7)",
    "log: ix_log (1.0 GiB) is bloated, 512.0 MiB came back; mended; it is too large",
    "log: half (8.0 KiB) is invalid; it was left half made",
    "events: autovacuum_analyze_scale_factor 0.02, before 0.1",
    "log: autovacuum_vacuum_scale_factor 0.01 instead of 0.2: too many rows",
    "the server: track_counts on instead of off: no table is vacuumed",
)


def test_everything_is_told_on_the_screen_under_its_title() -> None:
    shown = list(lines(STANDING))
    assert tuple(line.strip() for line in shown if line.startswith("    ")) == TOLD
    assert [line.strip() for line in shown if line.endswith(":")] == [
        "keeps VACUUM from its work:",
        "indexes that are INVALID or bloated:",
        "autovacuum, as it was set now:",
        "autovacuum that would keep tables smaller; tune_autovacuum sets it:",
    ]


def test_a_report_without_it_says_nothing_of_it() -> None:
    assert sections(old_report()) == []
    empty = dict.fromkeys(STANDING, ())
    assert sections({**old_report(), **empty}) == []


@pytest.mark.parametrize("told", ["ix_log (1.0 GiB) is bloated", "track_counts on instead of off"])
def test_markdown_and_page_say_it_too(told: str) -> None:
    report = new_report()
    assert told.replace("_", "") in markdown(report).replace("\\", "").replace("_", "")
    assert told in page(report)


def test_what_no_run_mends_needs_a_person() -> None:
    needs = {need.do: need.text for need in verdict(new_report()).needs}
    assert needs["SELECT pg_terminate_backend(7)"] == STANDING["blockers"][0]["text"]
    assert "the index half of log is INVALID" in needs["REINDEX INDEX CONCURRENTLY half"]
    assert "autovacuum is off" in needs["ALTER SYSTEM SET track_counts = on"]
    assert "ALTER TABLE log" not in needs


def test_what_was_mended_or_set_needs_nobody() -> None:
    mended = {
        "blockers": [],
        "indexes": [{**one, "done": True} for one in STANDING["indexes"]],
        "autovacuum": [{**one, "set": True} for one in STANDING["autovacuum"]],
    }
    before = {need.do for need in verdict({**new_report(), **dict.fromkeys(STANDING, ())}).needs}
    assert {need.do for need in verdict({**new_report(), **mended}).needs} == before
