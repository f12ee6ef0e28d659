"""The page of a rollout: who needs somebody, what changed, and a thousand servers on it."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

from pages import new_report, page_of_fleet, runs

AT = "2026-07-01T00:00:00Z"


def rollout(fleet: ModuleType, reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the summary of a rollout whose servers left these reports; an empty one left none."""
    records = {
        host: fleet.record(report, "; ".join(report.get("errors", ())), AT) if report else {}
        for host, report in reports.items()
    }
    summary: dict[str, Any] = fleet.fleet(records, "50", False, AT)
    return summary


def rows(written: str) -> list[str]:
    """Return what the rows of the table say."""
    found = re.findall(r"<tr>(.*?)</tr>", written.partition("<tbody>")[2], re.S)
    return [" ".join(re.sub(r"<title>.*?</title>|<[^>]*>", " ", row).split()) for row in found]


def test_those_that_need_somebody_come_first_then_the_largest(fleet: ModuleType) -> None:
    small = new_report() | {"database": {"bytes_before": 9, "bytes_after": 9}, "tables": []}
    failed = new_report() | {"status": "partial", "errors": ["no room"]}
    written = page_of_fleet(
        rollout(fleet, {"small": small, "large": new_report(), "bad": failed, "absent": {}}),
        {"large": runs(9)},
    )
    assert [row.split()[0] for row in rows(written)] == ["bad", "absent", "large", "small"]
    assert "no room" in rows(written)[0]
    assert "Servers need you" in written
    assert "2 ok, 1 partial, 1 not reached, of 4." in written


def test_what_a_server_needs_is_said_and_puts_it_before_larger_ones(fleet: ModuleType) -> None:
    summary = rollout(fleet, {"large": new_report(), "small": new_report()})
    summary["hosts"][1] |= {
        "bytes_after": 9,
        "working": False,
        "needs": [{"text": "its disk is full in 3 days", "do": "give it a larger disk"}],
    }
    summary["verdict"] = {"text": "retention works on 1 of 2 servers, not on small"}
    written = page_of_fleet(summary, {})
    assert [row.split()[0] for row in rows(written)] == ["small", "large"]
    assert "its disk is full in 3 days give it a larger disk" in rows(written)[0]
    assert "Every server succeeded, and something needs you" in written
    assert "Retention works on 1 of 2 servers, not on small." in written


def test_a_server_is_compared_with_its_run_before_and_not_with_this_one(fleet: ModuleType) -> None:
    report = new_report() | {"started": "2026-06-03T02:00:00Z"}
    written = page_of_fleet(rollout(fleet, {"a": report}), {"a": runs(3)})
    # The runs of the first and the second had 4.0 and 4.1 GiB, that of the third is this one.
    assert "3.0 GiB \N{MINUS SIGN}1.1 GiB 2.0 GiB" in rows(written)[0]
    assert "1.1 GiB smaller than after the runs before" in written
    assert written.count('class="mark-ok"') == 3


def test_a_server_without_earlier_runs_or_of_an_older_summary_is_compared_with_none(
    fleet: ModuleType,
) -> None:
    summary = rollout(fleet, {"a": new_report(), "b": new_report()})
    for key in ("report", "started"):
        summary["hosts"][1].pop(key)
        summary["hosts"][1]["host"] = "b"
    written = page_of_fleet(
        {**summary, "hosts": [{**host, "report": ""} for host in summary["hosts"]]}, {"b": runs(3)}
    )
    assert [" - " in row for row in rows(written)] == [True, True]
    assert "<a href" not in written.partition("<tbody>")[2].partition("</tbody>")[0]


def test_the_page_of_a_server_is_linked_by_its_file(fleet: ModuleType) -> None:
    written = page_of_fleet(rollout(fleet, {"../<b>": new_report(), "plain": new_report()}), {})
    links = re.findall(r'<a href="([^"]*)">', written)
    assert links[:2] == ["%252E.%252F%253Cb%253E.html", "plain.html"]
    assert "../&lt;b&gt;" in written


def test_a_thousand_servers_fit_on_a_page(fleet: ModuleType) -> None:
    hosts = {f"server-{number:04}.example.org": new_report() for number in range(1_000)}
    written = page_of_fleet(rollout(fleet, hosts), dict.fromkeys(hosts, runs(10)))
    assert len(rows(written)) == 1_000
    assert len(written) < 4_000_000
