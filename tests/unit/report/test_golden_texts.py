"""Texts with numbers that never change, and how the golden files are compared."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from golden import DIALECTS, FOLDER, KINDS, MODES, Golden, as_text, masked
from pages import FORECAST, GROWTH, RULES
from prefect_maintenance.plan.decisions import Decision
from prefect_maintenance.plan.estimate import Estimate
from prefect_maintenance.plan.hold_counts import HoldCount
from prefect_maintenance.plan.plan import OLD, PARENT_GONE, WITH_RUN, Kept, Plan, Reason
from prefect_maintenance.plan.rule_counts import RuleCount
from prefect_maintenance.plan.what_if import WhatIf
from prefect_maintenance.report.estimated import as_json
from prefect_maintenance.report.markdown import markdown
from prefect_maintenance.report.report import Report
from prefect_maintenance.report.tables import TableReport
from prefect_maintenance.report.text import render, render_sizes

IDS = ("real", "check")
FLEET = ("screen.txt", "summary.json", "job.json")
NUMBERED = ("chart.svg", "artifact.md", "screen.txt", "sizes.txt")
INSTANT = "2026-07-01T02:10:00Z"
TABLE: dict[str, Any] = {
    "rows_before": 0,
    "bytes_before": 8192,
    "bytes_after": 8192,
    "oldest_after": None,
    "oldest_due": None,
    "cutoff": None,
    "strategy": "none",
    "ways": {},
    "strategy_why": "",
    "reclaim": "none",
    "error": None,
}
PLAN = Plan(
    reasons=(
        Reason("log", 48_200_000, OLD),
        Reason("events", 1_204_511, OLD),
        Reason("log", 10_000, PARENT_GONE),
        Reason("flow_run", 20_400, OLD),
        Reason("log", 377, WITH_RUN),
    ),
    decisions={"log": Decision("log", "rewrite", "", {}, 15 * 2**30)},
    estimates={
        "log": Estimate(15 * 2**30, 41.2, 3 * 2**30, 120),
        "events": Estimate(0, 12.0, 2**30),
    },
    rules=tuple(RuleCount(**one) for one in RULES["rules"]),
)
REPORT: dict[str, Any] = {
    "status": "partial",
    "check_mode": False,
    "seconds": 83.4,
    "reference_time": "2026-07-01T02:00:00Z",
    "database": {"bytes_before": 21 * 2**30, "bytes_after": 9 * 2**30},
    "deleted": {"log": 48_210_377, "events": 1_204_511, "flow_run": 20_400, "artifact": 0},
    "kept": [
        {"what": "log", "rows": 1_250, "why": "their flow run is not finished"},
        {"what": "flow_run", "rows": 1, "why": "state RUNNING is not finished"},
    ],
    "tables": [
        {
            **TABLE,
            "name": "log",
            "rows_before": 51_000_000,
            "bytes_before": 17 * 2**30,
            "bytes_after": 2**30,
            "oldest_after": "2026-06-16T02:00:00Z",
            "cutoff": "2026-06-16T02:00:00Z",
            "strategy": "rewrite",
            "ways": {"rewrite": 48_200_000, "delete by run": 10_000, "cascade": 377},
            "strategy_why": "94 % of the rows go; purge_strategy is rewrite",
            "reclaim": "plain",
            "estimate": as_json(PLAN.estimates["log"]),
            "seconds": 38.0,
            "wal_bytes": 2**31,
            "lock_ms_max": 96,
        },
        {
            **TABLE,
            "name": "events",
            "rows_before": 2_000_000,
            "bytes_before": 3 * 2**30,
            "bytes_after": 3 * 2**30 + 512,
            "oldest_after": "2026-06-10T14:00:00Z",
            "oldest_due": "2026-06-10T14:00:00Z",
            "cutoff": "2026-06-16T02:00:00Z",
            "strategy": "delete by time range",
            "ways": {"delete by time range": 1_204_511},
            "estimate": as_json(PLAN.estimates["events"]),
            "seconds": 14.5,
            "wal_bytes": 900 * 2**20,
            "error": "somebody holds a lock on it; try again later",
        },
        {
            **TABLE,
            "name": "flow_run",
            "rows_before": 60_000,
            "bytes_before": 90 * 2**20,
            "bytes_after": 90 * 2**20,
            "strategy": "api and sql",
            "ways": {"api": 20_000, "sql": 400},
            "reclaim": "full",
        },
        {**TABLE, "name": "artifact", "bytes_before": None, "bytes_after": None, "error": "no"},
    ],
    "steps": ["inspect", "purge", "delete", "vacuum"],
    "plan": PLAN.as_json(),
    "rules": RULES["rules"],
    "holds": RULES["holds"],
    "estimate": as_json(PLAN.estimate),
    "measured": {
        "bytes_back": 12 * 2**30,
        "seconds": 52.5,
        "wal_bytes": 3048 * 2**20,
        "lock_ms": 1_204,
    },
    "warnings": ["unknown tables are left alone: somebody_elses"],
    "errors": ["vacuum: events: somebody holds a lock on it; try again later"],
}

COST = {"seconds": 41.2, "wal_bytes": 3 * 2**30, "extra_bytes": 2**30, "lock_ms": 120}
SMALL = {"bytes_before": 5 * 2**20, "bytes_after": 5 * 2**20}


def report(*, check: bool = False, **changes: Any) -> dict[str, Any]:
    """Give the report of a run, or of the check before it, where no size changes and nothing fails.

    Args:
        check: whether it is the check's.
        changes: what else is in it.
    """
    made = {**REPORT, **changes, "check_mode": check}
    if not check:
        return made
    made["measured"] = {}
    size = made["database"]["bytes_before"]
    return {
        **made,
        "status": "ok",
        "errors": [],
        "database": {"bytes_before": size, "bytes_after": size},
        "tables": [
            {
                **table,
                "bytes_after": table["bytes_before"],
                "strategy": f"{table['strategy']} (planned)",
                "error": None,
            }
            for table in made["tables"]
        ],
    }


def whole(made: dict[str, Any]) -> Report:
    """Give the report as the engine has it, with what only its screen shows."""
    later = {"dead_after": 51_900_000, "dead_before": 12, "rows_method": "estimate"}
    sizes = {"heap_bytes": 2**30, "toast_bytes": 0, "index_bytes": 300 * 2**20}
    bloat = {"bloat_bytes": 2**20, "bloat_percent": 99.6, "bloat_method": "exact, by pgstattuple"}
    tables = [TableReport(**{**t, **later, **sizes, **bloat}) for t in made["tables"]]
    first = {"rewrite": COST, "delete": {**COST, "seconds": 3725.0}}
    grown: dict[str, Any] = {
        "rows_per_day": 214_285.7,
        "bytes_per_day": 67 * 2**20,
        "growth_method": "counted",
    }
    tables = [replace(table, **grown) for table in tables]
    tables[0] = replace(tables[0], estimates=first, extra_bytes=2**30)
    why = "a rewrite gives back 40.0 MiB, 44 % of it"
    tables[2] = replace(tables[2], reclaim="rewrite", reclaim_why=why)
    if not made["check_mode"]:
        tables[2] = replace(tables[2], lock_ms_max=1_204)
    days = {"flow_runs": 30, "task_runs": 30, "artifacts": 30, "logs": 15, "events": 7}
    more = {
        "schema": 1,
        "host": "prefect-b",
        "status_if_lost": "partial",
        "started": INSTANT,
        "server": {"api_url": "https://prefect-b/api", "version": "3.6.29", "db_vacuum": None},
        "database": {**made["database"], "dialect": "postgresql", "version": "17.2"},
        "policy": {"retention_days": days, "states": ["COMPLETED", "FAILED"]},
        "cutoffs": {},
        "kept": tuple(Kept(**kept) for kept in made["kept"]),
        "tables": tuple(tables),
        "forecast": FORECAST,
        "steps": tuple(made["steps"]),
        "plan": Plan.of_json(made["plan"]),
        "holds": tuple(HoldCount(**one) for one in RULES["holds"]),
        "what_if": tuple(WhatIf(**one) for one in RULES["what_if"]),
    }
    beside = ("estimate", "measured", "rules")
    known = {name: value for name, value in made.items() if name not in beside}
    return Report(**{**known, **more})


def servers(fleet: ModuleType, *, check: bool) -> dict[str, Any]:
    """Give one server of each kind that a summary knows."""
    nothing = {"status": "ok", "deleted": {}, "warnings": [], "errors": []}
    good = report(check=check, status="ok", tables=REPORT["tables"][:1], errors=[])
    found = {
        "prefect-a.example.org": good,
        "prefect-b": report(check=check),
        "prefect-c": report(check=check, tables=[], database=SMALL, **nothing),
    }
    records = {
        name: fleet.record(one, "; ".join(one["errors"]), INSTANT, check)
        for name, one in found.items()
    }
    records["prefect-d"] = fleet.record({}, "cannot connect to the database", INSTANT, check)
    return {**records, "prefect-e": {}}


@pytest.mark.parametrize("check", [False, True], ids=IDS)
def test_the_summary_of_a_fleet_is_what_its_files_have(
    fleet: ModuleType, golden: Golden, check: bool
) -> None:
    summary = fleet.fleet(servers(fleet, check=check), 50, check, INSTANT)
    told = (
        "\n".join(fleet.lines(summary)),
        json.dumps(summary, indent=2),
        json.dumps(fleet.artifacts(summary), indent=2),
    )
    for kind, text in zip(FLEET, told, strict=True):
        golden.check(f"fleet/{IDS[check]}/{kind}", text + "\n")


@pytest.mark.parametrize("check", [False, True], ids=IDS)
def test_numbers_of_a_large_server_are_shown_as_the_files_have_them(
    golden: Golden, check: bool
) -> None:
    text = markdown(report(check=check))
    picture = re.search(r"data:image/svg\+xml;base64,([\w+/=]+)", text)
    assert picture is not None
    drawn = base64.b64decode(picture[1]).decode().replace("><", ">\n<") + "\n"
    made = whole(report(check=check))
    told = (
        drawn,
        text.replace(picture[0], "chart.svg"),
        "\n".join(render(made)) + "\n",
        "\n".join(render_sizes(made, GROWTH)) + "\n",
    )
    for kind, found in zip(NUMBERED, told, strict=True):
        golden.check(f"numbers/{IDS[check]}/{kind}", found)


def test_a_changed_text_fails_with_the_line_that_changed(tmp_path: Path) -> None:
    (tmp_path / "screen.txt").write_text("first\nsecond\n")
    golden = Golden(rewrite=False, folder=tmp_path)
    golden.check("screen.txt", "first\nsecond\n")
    with pytest.raises(pytest.fail.Exception) as failure:
        golden.check("screen.txt", "first\nother\n")
    told = str(failure.value).splitlines()
    assert "--- tests/golden/screen.txt" in told
    assert "-second" in told
    assert "+other" in told
    assert "--rewrite-golden" in told[-1]
    assert (tmp_path / "screen.txt").read_text() == "first\nsecond\n"


@pytest.mark.parametrize("now", ["first\n", "first", "first\n\n"])
def test_a_file_that_is_missing_or_ends_otherwise_is_a_difference(tmp_path: Path, now: str) -> None:
    golden = Golden(rewrite=False, folder=tmp_path)
    with pytest.raises(pytest.fail.Exception):
        golden.check("missing.txt", now)
    (tmp_path / "there.txt").write_text("first\n" if now == "first" else "first")
    with pytest.raises(pytest.fail.Exception):
        golden.check("there.txt", now)


def test_a_file_is_written_anew_only_when_that_was_asked_for(tmp_path: Path) -> None:
    Golden(rewrite=True, folder=tmp_path).check("new/screen.txt", "first\n")
    assert (tmp_path / "new" / "screen.txt").read_text() == "first\n"


def test_only_what_differs_from_run_to_run_has_a_placeholder() -> None:
    line = "  log     5,240     48.0 KiB  512 Bytes           17  delete by run 24; keep 15 days"
    wanted = "  log     5,240       <size>     <size>       <dead>  delete by run 24; keep 15 days"
    assert masked(line) == wanted
    found = json.loads(as_text({"rows_before": 7, "bytes_before": 8, "bytes_after": None}))
    assert found == {"rows_before": 7, "bytes_before": "<bytes>", "bytes_after": None}


def test_every_golden_file_has_a_name_that_some_test_compares() -> None:
    of_runs = {f"{d}/{mode}/{kind}" for d in DIALECTS for mode in MODES for kind in KINDS}
    of_fleets = {f"fleet/{mode}/{kind}" for mode in IDS for kind in FLEET}
    numbered = {f"numbers/{mode}/{kind}" for mode in IDS for kind in NUMBERED}
    there = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    before = {f"before_rules/{d}/{name}.json" for d in DIALECTS for name in ("same", "states")}
    assert there == of_runs | of_fleets | numbered | before
