"""The page of a server: what it says, of which report, and that no name in it acts."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
from golden import DIALECTS, MODES
from pages import (
    ADDED,
    MEANT,
    STANDING,
    TEMPLATES,
    new_report,
    old_report,
    page,
    runs,
    texts_changed,
)
from prefect_maintenance.report.page import host_page, inert

from lab.environments import ROOT

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}{% raw %}",
    "</style><style>body{display:none}</style>",
    "--><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "safe\u202egnp.exe\u2066\u200b\x00\x1b[31m",
    "line\nbreak\r\n\ttab",
    "\ud800 alone",
    "x" * 10_000,
)


class Structure(HTMLParser):
    """The tags of a page with the names of their attributes, and all of its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.links: list[str | None] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.links += [value for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data: str) -> None:
        # The style has no name in it.
        self.text += "" if self.cdata_elem else data


def said(text: str) -> str:
    """Return the words of a page, by single blanks."""
    return " ".join(Structure(text).text.split())


def named(report: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a report in which everything that can be named has this name."""
    changed: dict[str, Any] = texts_changed(report, lambda _: text, MEANT)
    changed["waited"] = {text: 1.0}
    changed["deleted"] = {**report["deleted"], text: 7}
    changed["policy"]["retention_days"] = {text: 3}
    return changed


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("looks", [False, True], ids=["run", "look"])
def test_a_hostile_name_changes_no_tag_and_no_attribute(text: str, looks: bool) -> None:
    harmless = Structure(page(named(new_report(), "name"), runs(), looks=looks))
    written = page(named(new_report(), text), runs(), looks=looks)
    hostile = Structure(written)
    assert hostile.tags == harmless.tags
    assert hostile.links == harmless.links
    assert len(written) < 120_000
    shown = hostile.text.replace("\n", "").replace(" ", "")
    assert shown.isprintable()
    written.encode()


@pytest.mark.parametrize("text", HOSTILE[:7])
def test_a_hostile_name_is_shown_as_it_is(text: str) -> None:
    assert " ".join(text.split()) in said(page(named(new_report(), text)))


def test_nothing_is_loaded_and_nothing_runs() -> None:
    found = Structure(page(new_report(), runs()))
    assert {tag for tag, *_ in found.tags} & {"script", "img", "iframe", "object", "form"} == set()
    assert not [name for _, *names in found.tags for name in names if name.startswith("on")]
    assert sorted(link for link in found.links if link) == ["a.json", "data:,"]
    assert "http" not in page(texts_changed(new_report(), lambda _: "", MEANT)).replace(
        "http-equiv", ""
    )


def test_a_long_or_unprintable_text_is_cut_and_made_readable() -> None:
    assert inert("a\u202eb\tc") == "a\N{REPLACEMENT CHARACTER}b c"
    assert inert("x" * 601).endswith("x… (601 characters)")
    assert (inert(None), inert(7)) == ("", 7)


@pytest.mark.parametrize("kind", [f"{d}/{m}" for d in DIALECTS for m in MODES])
def test_a_report_of_the_version_before_has_a_page(kind: str) -> None:
    report = old_report(kind)
    assert not set(ADDED) & set(report)
    told = said(page(report, runs()))
    assert "db1.example.org" in told
    for table in report["tables"]:
        assert table["name"] in told
    for kept in report["kept"]:
        assert kept["why"] in told
    for text in (*report["warnings"], *report["errors"]):
        assert " ".join(text.split()) in told


def test_a_failure_before_the_first_measurement_has_a_page() -> None:
    told = said(page({"status": "failed", "errors": ["cannot connect"], "started": "?"}, runs()))
    assert "The run failed" in told
    assert "failed cannot connect" in told


STATEMENTS = (
    "Rows that should have gone are left Retention does not work: rows that should have gone are",
    "Needs you: events has rows since 2026-06-10 that should have gone.",
    "Given back 2.0 GiB the database had 5.0 GiB, now 3.0 GiB",
    "Rows deleted 5,233 in 3 min 12 s; no table was locked for longer than 12 ms",
    "Disk is full in 412 days settles at 4.0 GiB with this policy",
    "to do events has rows since 2026-06-10 that should have gone ansible-playbook playbooks/mai",
    "new warning unknown tables are left alone: somebody_elses ask whose they are",
    "log 5,240 5,090 400.0 MiB, was 900.0 MiB +600.0 MiB 20.0 MiB 12,346 rows",
    "due since 2026-06-10",
    "failed somebody holds a lock on it; try again later",
    "The last 4 runs Database after the run 3.0 GiB",
    "at most 4.1 GiB",
    "Beside the run of 2026-06-03 03:00:00 UTC",
    "Database after the run 4.1 GiB 3.0 GiB \N{MINUS SIGN}1.1 GiB",
    "60.0 MiB and 120,000 rows a day, measured over 14 days",
    "12.0 GiB free of 40.0 GiB in /var/lib/postgresql, on db1",
    "in 412 days with this policy; in 204 days without it",
    "ping no deployment 12 34 56",
    "prefect.flow-run.heartbeat 123,456",
    "flow_run state RUNNING is not finished 2",
    "the whole run estimated 30.0 MiB 12.2 s 7.0 MiB - 12 ms measured 30.0 MiB 13.0 s",
    "otherwise, by rewrite",
    "Waited: single writer 2 min 10 s",
    "15 days flow runs, task runs, artifacts, logs, events since 2026-06-15 12:00:00 UTC",
)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_page_says_what_the_report_has(statement: str) -> None:
    assert statement in said(page(new_report(), runs()))


def test_a_check_says_what_would_go_and_is_no_run_in_the_plots() -> None:
    told = said(page(new_report("postgresql/check") | {"check_mode": True}, runs()))
    assert "Check only: nothing was changed" in told
    assert "Would come back 30.0 MiB of 5.0 GiB" in told
    assert "Rows that would go" in told
    assert "The last 3 runs" in told
    assert "Deleted" not in told.replace("Rows deleted", "")


def test_a_check_says_of_each_way_to_give_space_back_what_it_takes_and_why_it_is_not_taken() -> (
    None
):
    report = new_report("postgresql/check") | {"check_mode": True}
    [log] = [choice for choice in report["plan"]["reclaim"] if choice["table"] == "log"]
    passed_over = {way: cost for way, cost in log["ways"].items() if way != log["action"]}
    assert set(passed_over) == {"full", "compact"}
    for number, cost in enumerate(passed_over.values(), 1):
        cost |= {"seconds": 10.0 * number, "wal_bytes": number * 2**30, "lock_seconds": number}
    told = said(page(report))
    for number, (way, cost) in enumerate(passed_over.items(), 1):
        takes = f"- {10 * number}.0 s {number}.0 GiB 48.0 MiB {number},000 ms"
        assert f"space back by {way} {cost['why_not']} {takes}" in told
    assert "space back by" not in said(page(report | {"check_mode": False}))


def test_of_a_file_that_is_rewritten_as_a_whole_the_page_says_why() -> None:
    report = new_report("sqlite/real")
    assert report["database"]["reclaim_why"]
    told = said(page(report))
    assert f"the whole run estimated {report['database']['reclaim_why']} 30.0 MiB" in told


def test_a_look_has_sizes_growth_and_makers_and_nothing_that_went() -> None:
    told = said(page(new_report(), runs(), looks=True))
    assert "Prefect database of db1.example.org" in told
    assert "Bloat" in told
    assert "etl nightly 12 34 56" in told
    assert "The last 3 runs" in told
    for absent in ("How the rows", "Given back", "was 900.0 MiB", "Beside the run"):
        assert absent not in told


LATE, NOTHING = {"oldest_due": "2026-06-10T14:00:00Z"}, {"oldest_due": None}
PUT_OFF = {"status": "partial", "goes_on": "2026-11-26T22:00+01:00"}


@pytest.mark.parametrize(
    ("table", "changes", "tone", "headline"),
    [
        (LATE, {"status": "failed"}, "bad", "The run failed"),
        (LATE, {"status": "partial"}, "bad", "The run failed after it had begun"),
        (LATE, PUT_OFF, "info", "The run goes on in the next window"),
        (LATE, PUT_OFF | {"errors": ["no"]}, "bad", "The run failed after it had begun"),
        (LATE, {}, "bad", "Rows that should have gone are left"),
        (LATE, {"steps": ["inspect"]}, "info", "Whether retention works is not known yet"),
        (LATE, {"check_mode": True}, "info", "Check only: nothing was changed"),
        (NOTHING, {}, "warn", "Something needs you"),
        (NOTHING, {"remedies": [], **dict.fromkeys(STANDING, ())}, "ok", "All in order"),
        (NOTHING, {"tables": []}, "info", "Whether retention works is not known yet"),
    ],
)
def test_the_band_says_how_it_stands(
    table: dict[str, Any], changes: dict[str, Any], tone: str, headline: str
) -> None:
    report = new_report()
    report["tables"][1] |= table
    written = page(report | changes)
    assert f'<div class="band {tone}">\n<strong>{headline}</strong>' in written


def test_a_file_among_the_earlier_runs_that_is_none_is_named() -> None:
    written = host_page(new_report(), [], ["notes<b>.txt"], "a.json", TEMPLATES, looks=False)
    assert "left out: notes<b>.txt" in said(written)


def test_a_page_needs_nothing_that_a_controller_has_not() -> None:
    kept_away = ("sqlalchemy", "prefect", "humanize", "psycopg2", "httpx")
    code = (
        f"import sys; sys.modules |= dict.fromkeys({kept_away}); "
        "import prefect_maintenance.report.page"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "roles" / "prefect_maintenance" / "module_utils")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
