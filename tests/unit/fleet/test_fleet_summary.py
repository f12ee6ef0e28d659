"""The summary of a rollout: who counts as what, what a person reads, what a job carries."""

from __future__ import annotations

import json
import re
from types import ModuleType
from typing import Any

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lab.environments import ROOT

REPORT = {
    "status": "ok",
    "check_mode": False,
    "seconds": 2.5,
    "database": {"bytes_before": 5 * 2**30, "bytes_after": 2 * 2**30},
    "deleted": {"log": 1500, "events": 0},
    "warnings": ["unknown tables are left alone: x"],
    "tables": [
        {"name": "log", "oldest_after": "2026-06-15T00:00:00Z", "cutoff": "2026-06-15T00:00:00Z"},
        {
            "name": "events",
            "oldest_after": "2026-06-01T00:00:00Z",
            "oldest_due": "2026-06-01T00:00:00Z",
            "cutoff": "2026-06-03T12:00:00Z",
        },
        {"name": "flow_run_state", "oldest_after": None, "cutoff": None},
    ],
}


def summary(fleet: ModuleType, records: dict[str, Any], check: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = fleet.fleet(records, "50", check, "2026-07-01T00:00:00Z")
    return found


def test_a_record_keeps_what_went_what_came_back_and_the_oldest_row(fleet: ModuleType) -> None:
    record = fleet.record(REPORT)
    assert record["status"] == "ok"
    assert record["deleted"] == {"log": 1500}
    assert record["bytes_given_back"] == 3 * 2**30
    assert record["oldest"]["table"] == "events"
    assert record["oldest"]["days_past"] == 2.5
    assert record["overdue"] == record["oldest"]


def test_a_row_that_is_kept_on_purpose_is_the_oldest_and_not_overdue(fleet: ModuleType) -> None:
    kept = {
        "name": "flow_run",
        "oldest_after": "2020-01-01T00:00:00Z",
        "oldest_due": None,
        "cutoff": "2026-06-03T12:00:00Z",
    }
    record = fleet.record({**REPORT, "tables": [kept]})
    assert record["oldest"]["days_past"] > 2000
    assert record["overdue"] is None
    shown = fleet.lines(summary(fleet, {"a": record}))
    assert "as the policy says" in shown[3]


@pytest.mark.parametrize(
    ("report", "status"),
    [
        ({}, "failed"),
        ({"status": "ok", "status_if_lost": "failed", "deleted": {"log": 0}}, "failed"),
        ({"status": "ok", "status_if_lost": "partial", "deleted": {"log": 3}}, "partial"),
        ({"status": "partial", "deleted": {"log": 3}}, "partial"),
    ],
)
def test_how_a_server_stands_after_a_failure_is_what_the_engine_says(
    fleet: ModuleType, report: dict[str, Any], status: str
) -> None:
    record = fleet.record(report, "two\n  lines")
    assert (record["status"], record["failure"]) == (status, "two lines")


@pytest.mark.parametrize(
    ("failed", "tried", "limit", "stops"),
    [
        (1, 1, 50, True),
        (1, 2, 50, False),
        (2, 3, 50, True),
        (1, 100, 0, True),
        (0, 5, 0, False),
        (5, 5, 100, False),
        (0, 0, 0, False),
    ],
)
def test_no_wave_begins_when_too_many_of_those_tried_have_failed(
    fleet: ModuleType, failed: int, tried: int, limit: int, stops: bool
) -> None:
    good, bad = fleet.record(REPORT), fleet.record({}, "no")
    records = {f"h{n}": bad if n < failed else good for n in range(tried)} | {"later": {}}
    assert bool(fleet.stopped(records, limit)) is stops


def test_a_server_whose_window_closed_has_not_failed(fleet: ModuleType) -> None:
    report = {**REPORT, "status": "partial", "errors": [], "goes_on": "2026-11-26T22:00+01:00"}
    put_off = fleet.record(report)
    records = {"a": put_off, "b": put_off}
    assert fleet.stopped(records, 0) == ""
    told = summary(fleet, records)
    assert (told["status"], told["servers"]["partial"]) == ("ok", 2)
    assert fleet.artifacts(told)["failed"] == {}
    shown = "\n".join(fleet.lines(told))
    assert shown.count("goes on in the next window, which opens 2026-11-26 22:00+01:00") == 2
    for failed in (fleet.record(report, "why"), fleet.record({**report, "errors": ["why"]})):
        assert fleet.stopped({"a": failed}, 50)
        assert summary(fleet, {"a": failed})["status"] == "failed"


def test_the_screen_names_failed_servers_last_and_totals_at_the_end(fleet: ModuleType) -> None:
    good, bad = fleet.record(REPORT), fleet.record({}, "cannot connect")
    shown = fleet.lines(summary(fleet, {"a-broken-one": bad, "b": good, "c": {}}))
    assert shown[0] == "Prefect maintenance of the fleet"
    assert [line.split()[0] for line in shown[3:5]] == ["b", "a-broken-one"]
    assert "2.5 d past (events)" in shown[3]
    assert shown[5].strip() == "cannot connect"
    assert "not reached: 1 server" in shown[7]
    assert shown[-1] == (
        "  3 servers: 1 ok, 1 failed, 1 not reached; 1,500 rows gone, 3 GiB given back"
    )


def test_of_many_servers_those_that_had_nothing_to_do_share_a_line(fleet: ModuleType) -> None:
    idle = fleet.record({"status": "ok", "database": {"bytes_before": 9, "bytes_after": 9}})
    records = {f"idle-{n}": idle for n in range(300)} | {"busy": fleet.record(REPORT)}
    shown = fleet.lines(summary(fleet, records, check=True))
    assert len(shown) < 10
    assert "check only" in shown[0]
    assert "  300 more servers had nothing to do" in shown
    assert any(line.startswith("  busy") for line in shown)


def test_a_job_carries_totals_and_reasons_but_not_every_server(fleet: ModuleType) -> None:
    records = {f"h{n}": fleet.record(REPORT) for n in range(5)} | {"bad": fleet.record({}, "why")}
    carried = fleet.artifacts(summary(fleet, records))
    assert carried["servers"]["ok"] == 5
    assert carried["deleted"] == {"log": 7500}
    assert carried["failed"] == {"bad": "why"}
    assert "hosts" not in carried


def test_an_answer_of_zero_is_an_answer_and_a_blank_one_is_none(fleet: ModuleType) -> None:
    assert fleet.answer(0, 50) == 0
    assert fleet.answer("0", 50) == "0"
    for blank in ("", "  ", None):
        assert fleet.answer(blank, 50) == 50


def test_servers_that_a_run_left_out_stay_as_they_were_unless_the_inventory_dropped_them(
    fleet: ModuleType,
) -> None:
    failed = fleet.record({}, "why", "2026-06-01T00:00:00Z")
    earlier = fleet.fleet(
        {"gone": failed, "z": failed, "a": failed}, "50", False, "2026-06-02T00:00:00Z"
    )
    now = summary(fleet, {"a": fleet.record(REPORT, "", "2026-07-01T00:00:00Z")})
    merged = fleet.merged(now, json.dumps(earlier), ["z", "a", "never-ran"])
    times = [(host["host"], host["status"], host["finished"]) for host in merged["hosts"]]
    assert times == [("z", "failed", "2026-06-01T00:00:00Z"), ("a", "ok", "2026-07-01T00:00:00Z")]
    assert (merged["servers"]["total"], merged["status"]) == (2, "failed")
    assert (merged["deleted"], now["status"]) == ({"log": 1500}, "ok")


def test_servers_of_an_older_summary_have_the_time_of_the_whole_of_it(fleet: ModuleType) -> None:
    earlier = {"finished": "then", "check_mode": True, "hosts": [{"host": "a", "status": "ok"}]}
    merged = fleet.merged(summary(fleet, {}), json.dumps(earlier), ["a"])
    assert merged["hosts"] == [
        {"host": "a", "status": "ok", "finished": "then", "check_mode": True, "goes_on": ""}
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"hosts": []}', '{"hosts": null}', "7"])
def test_a_file_that_is_no_summary_is_replaced(fleet: ModuleType, text: str) -> None:
    now = summary(fleet, {"a": fleet.record(REPORT)})
    assert fleet.merged(now, text, ["a", "b"]) == now


NEED = {"text": "events would settle at 90 GiB", "do": "prefect_maintenance_retention: {events: 7}"}


def judged(working: bool | None, *needs: dict[str, str]) -> dict[str, Any]:
    return {**REPORT, "verdict": {"working": working, "lines": [], "overdue": [], "needs": needs}}


def test_the_verdict_comes_first_and_names_where_retention_does_not_work(
    fleet: ModuleType,
) -> None:
    verdicts = {"a": True, "b": False, "c": None, "d": True}
    records = {host: fleet.record(judged(working)) for host, working in verdicts.items()}
    found = summary(fleet, {**records, "e": {}, "old": fleet.record(REPORT)})
    text = "retention works on 2 of 6 servers, not on b, unknown on 3"
    assert found["verdict"] == {"text": text, "working": 2, "not_working": 1, "unknown": 3}
    assert fleet.lines(found)[-2] == f"  {text}"
    assert fleet.lines(found)[-1].startswith("  6 servers: 5 ok, 1 not reached; ")
    assert [host["working"] for host in found["hosts"]] == [True, False, None, True, None, None]
    # A run with a limit speaks for all servers, those of older summaries included.
    earlier = json.dumps({**found, "hosts": [*found["hosts"], {"host": "z", "status": "ok"}]})
    again = fleet.merged(
        summary(fleet, {"b": fleet.record(judged(True))}), earlier, ["a", "b", "z"]
    )
    assert again["verdict"]["text"] == "retention works on 2 of 3 servers, unknown on 1"


def test_of_many_servers_where_retention_does_not_work_three_are_named(fleet: ModuleType) -> None:
    records = {f"h{n}": fleet.record(judged(False)) for n in range(9)}
    text = summary(fleet, records)["verdict"]["text"]
    assert text == "retention works on 0 of 9 servers, not on h0, h1, h2 and 6 more"


def test_without_any_verdict_the_totals_stand_alone(fleet: ModuleType) -> None:
    found = summary(fleet, {"a": fleet.record(REPORT)})
    assert found["verdict"] == {"text": "", "working": 0, "not_working": 0, "unknown": 1}
    assert fleet.lines(found)[-2:-1] == [""]
    assert fleet.lines(found)[-1].startswith("  1 server: 1 ok; ")


def test_what_a_server_needs_of_people_is_shown_and_carried_by_the_job(fleet: ModuleType) -> None:
    idle = {"status": "ok", "database": {"bytes_before": 9, "bytes_after": 9}}
    verdict = {"working": True, "needs": [NEED]}
    records = {f"idle-{n}": fleet.record(idle) for n in range(300)}
    found = summary(fleet, {**records, "full": fleet.record({**idle, "verdict": verdict})})
    shown = fleet.lines(found)
    assert shown[4].strip() == f"needs you: {NEED['text']}: {NEED['do']}"
    carried = fleet.artifacts(found)
    assert (carried["needs"], carried["verdict"]) == ({"full": [NEED]}, found["verdict"])
    many = {f"h{n}": fleet.record(judged(False, NEED)) for n in range(300)}
    assert len(fleet.artifacts(summary(fleet, many))["needs"]) == fleet.LISTED


def test_the_message_in_the_docs_tells_the_verdict_and_passes_the_trial_of_awx(
    fleet: ModuleType,
) -> None:
    text = (ROOT / "docs" / "awx.md").read_text()
    [line] = re.findall(r"```jinja\n(.+)\n```", text)
    # As AWX tries and renders messages; its trial has a job without artifacts.
    message = ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(line)
    assert message.render(job={"name": "maintain", "artifacts": {}}) == "maintain: "
    carried = fleet.artifacts(summary(fleet, {"b": fleet.record(judged(False, NEED))}))
    told = message.render(job={"name": "maintain", "artifacts": {"prefect_maintenance": carried}})
    assert told.startswith("maintain: retention works on 0 of 1 server, not on b; b: events would")
    assert NEED["do"] in told
