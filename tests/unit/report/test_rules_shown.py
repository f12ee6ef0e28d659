"""Rules, holds and what would go are said to people on the screen, in Markdown and in metrics."""

from __future__ import annotations

from typing import Any

from pages import RULES, new_report, page
from prefect_maintenance.report import rules, what_if
from prefect_maintenance.report.markdown import markdown
from prefect_maintenance.report.prometheus import exposition

CHECK = {**RULES, "check_mode": True}
HOLDS = [
    "keep-until:soon: 2 runs; 9 rows, 100 Bytes; its date cannot be read, so it holds for good",
    "keep-until:2026-07-02: 1 run, the oldest of 2025-03-01; 1 row; ends soon, on 2026-07-02",
    "hold:audit: 120 runs, the oldest of 2025-03-01; 52,000 rows, 1.0 MiB",
]


def rule(number: int, **more: Any) -> dict[str, Any]:
    return {**RULES["rules"][0], "number": number, "name": f"rule {number}", **more}


def test_the_screen_says_of_each_rule_what_goes_and_stays_and_of_each_hold_what_it_holds() -> None:
    assert list(rules.lines(CHECK)) == [
        "",
        "  rules for flow runs:                           would go         kept       bytes  of",
        "    1 failures for a quarter                        1,204           87    12.0 MiB"
        "  2025-11-02 to 2026-03-31",
        "    the general policy                             20,400            9"
        "              2025-10-01",
        "",
        "  rules for logs:                                would go         kept       bytes  of",
        "    rule 1                                              0            3     0 Bytes",
        "",
        "  held by tags, whatever their age:",
        *(f"    {line}" for line in HOLDS),
    ]


def test_many_rules_and_holds_stay_one_screen_and_the_rest_is_counted() -> None:
    many = [rule(n, name=f"the {n}th", rows=n % 9 * 100) for n in range(1, 40)]
    general = rule(0, name="the general policy", rows=900)
    tags = [{**RULES["holds"][0], "tag": f"hold:{n}", "rows": n} for n in range(20)]
    told = list(rules.lines({"rules": [*many, general], "holds": tags}))
    assert len(told) == 18
    shown = [line.split()[0] for line in told[2:8]]
    assert shown == ["7", "8", "17", "26", "35", "the"]
    assert told[8] == "    and 34 more rules, in the JSON"
    assert told[-1] == "    and 14 more tags, in the JSON"
    assert told[11].startswith("    hold:19: ")


def test_a_long_name_breaks_no_line() -> None:
    [_, _, line] = rules.lines({"rules": [rule(1, name="x" * 900)]})
    assert len(line) < 120
    assert "x…" in line


def test_markdown_and_the_page_have_the_same() -> None:
    text, shown = markdown(new_report()), page(new_report())
    assert "| 1 failures for a quarter | 1,204 | 87 | 12.0 MiB | 2025-11-02 to 2026-03-31 |" in text
    for line in HOLDS:
        assert f"- {line}" in text
        assert f"<li>{line}</li>" in shown
    for title in ("Rules for flow runs", "Rules for logs", "Held by tags, whatever their age"):
        assert f"## {title}\n" in text
        assert f"<h2>{title}</h2>" in shown
    assert "| flow runs | flow_run | 20,400 | 16.0 MiB | &lt;1 % |" in text.replace("<1", "&lt;1")
    assert "<h2>What would go with this policy, estimated" in shown


def test_what_would_go_is_said_entity_by_entity_and_in_all() -> None:
    told = list(what_if.lines(RULES))
    assert told[1].startswith("  what would go with this policy, estimated from statistics")
    assert [line.split() for line in told[2:]] == [
        ["entity", "table", "rows", "bytes", "share"],
        ["logs", "log", "48,000,000", "16.0", "GiB", "94", "%"],
        ["flow", "runs", "flow_run", "20,400", "16.0", "MiB", "<1", "%"],
        ["flow_run_state", "61,200", "32.0", "MiB", "34", "%"],
        ["in", "all", "48,081,600", "16.0", "GiB"],
    ]
    exact = [{**one, "exact": True} for one in RULES["what_if"]]
    assert (
        list(what_if.lines({"what_if": exact}))[1] == "  what would go with this policy, counted:"
    )
    none = [{**one, "rows": 0, "exact": True} for one in exact]
    assert list(what_if.lines({"what_if": none})) == [
        "",
        "  nothing would go with this policy, counted",
    ]
    assert what_if.markdown({"what_if": none}, str) == []


def test_a_report_without_rules_says_nothing_of_them() -> None:
    assert list(rules.lines({})) == list(what_if.lines({})) == []
    assert rules.markdown({}, str) == what_if.markdown({}, str) == []
    report: dict[str, Any] = {"rules": (), "holds": (), "what_if": (), "kept": ()}
    assert rules.without_empty(report) == {"kept": ()}
    assert rules.without_empty(RULES) == RULES


def test_metrics_have_the_rows_of_each_rule_and_the_runs_that_are_held() -> None:
    twice = [*RULES["rules"], rule(2, name="the general policy", rows=5)]
    told = {"host": "a", "database": {}, **RULES, "rules": twice}
    text = exposition(told, "ended", so_far="", now=0)
    for series, value in (
        ('rule_rows{host="a",kind="run",rule="failures for a quarter"}', 1204),
        ('rule_rows{host="a",kind="run",rule="the general policy"}', 20_405),
        ('rule_kept_rows{host="a",kind="log",rule="rule 1"}', 3),
        ('held_runs{host="a"}', 123),
    ):
        assert f"prefect_maintenance_last_run_{series} {value}\n" in text
    assert "held_runs" not in exposition({"host": "a"}, "ended", so_far="", now=0)
