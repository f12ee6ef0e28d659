"""Rules for logs by level and logger, and what they leave to the runs that logs belong to."""

from __future__ import annotations

from typing import Any

from bulk import Bulk, fill_by_hand, left, names
from maintenance import request as asked_of
from maintenance import run_step

BELOW_INFO = {"below": "INFO", "keep": {"days": 3}}
HTTPX = {"loggers": ["httpx*"], "keep": {"days": 5}}
ERRORS = {"name": "audit", "loggers": ["audit"], "keep": "forever"}


def test_logs_go_by_their_level_and_logger_and_the_first_rule_that_fits_decides(
    purged: str, way: str
) -> None:
    rows = Bulk()
    rows.log("debug old", 4, level=10)
    rows.log("debug", 2, level=10)
    rows.log("info", 4, level=20)
    rows.log("info old", 16, level=20)
    rows.log("httpx", 6, logger="httpx._client")
    rows.log("httpx debug", 4, level=10, logger="httpx")
    rows.log("httpx young", 4, logger="httpx")
    rows.log("HTTPX", 6, logger="HTTPX")
    rows.log("audit", 400, logger="audit")
    rows.log("audit debug", 400, level=19, logger="audit")
    stays = left(purged, rows, way, log_rules=[BELOW_INFO, HTTPX, ERRORS])
    assert stays == {"debug", "info", "httpx young", "HTTPX", "audit"}


def test_logs_of_unfinished_runs_stay_and_those_of_gone_runs_go_whatever_rules_say(
    purged: str, way: str
) -> None:
    rows = Bulk()
    rows.run("busy", 50, "RUNNING")
    rows.run("done", 2)
    for run in ("busy", "done", "gone"):
        rows.log(f"{run} debug", 4, level=10, run=run)
        rows.log(f"{run} audit", 50, logger="audit", run=run)
        rows.log(f"{run} now", 0.01, level=10, run=run)
    stays = left(purged, rows, way, log_rules=[BELOW_INFO, ERRORS])
    assert stays == {"busy debug", "busy audit", "busy now", "done audit", "done now", "gone now"}


def test_logs_that_a_rule_keeps_go_with_their_run_and_the_check_counts_them_once(
    purged: str, way: str
) -> None:
    rows = Bulk()
    rows.run("old", 50)
    rows.log("kept", 50, logger="audit", run="old")
    rows.log("debug", 4, level=10, run="old")
    rows.log("info", 4, run="old")
    rows.log("general", 50, run="old")
    fill_by_hand(purged, rows)
    asked = asked_of(purged, run_delete_via="sql", log_rules=[BELOW_INFO, ERRORS])
    foretold: dict[str, Any] = {}
    for check in (True, False):
        report: dict[str, Any] = {}
        for step in ("purge", "delete"):
            told = {**asked, "report": report}
            report = run_step(step, told, check=check).report.as_json()
        foretold = foretold or report["deleted"]
    assert report["deleted"] == foretold
    assert foretold["log"] == 4
    assert names(purged) == set()
