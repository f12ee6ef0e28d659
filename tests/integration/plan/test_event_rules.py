"""Rules for events: shorter and longer than the general cutoff, the last of each resource."""

from __future__ import annotations

from typing import Any

from bulk import Bulk, due, fill_by_hand, instant, left, put
from maintenance import at_first_batch, run_step
from maintenance import request as asked_of

HEARTBEATS = {"events": ["lab.*.heartbeat"], "keep": {"days": 1}}
FAILURES = {"name": "failures", "events": ["lab.run.Failed"], "keep": {"days": 90}}
LAST = {"events": ["lab.state"], "keep": {"last": 3}}


def test_a_rule_keeps_events_shorter_or_longer_than_the_cutoff(purged: str, way: str) -> None:
    rows = Bulk()
    rows.event("beat old", 2, "lab.run.heartbeat")
    rows.event("beat young", 0.9, "lab.run.heartbeat")
    rows.event("beat edge", 1, "lab.run.heartbeat")
    rows.event("other case", 2, "lab.run.Heartbeat")
    rows.event("failed old", 91, "lab.run.Failed")
    rows.event("failed", 89, "lab.run.Failed")
    rows.event("other old", 16)
    rows.event("other", 14)
    stays = left(purged, rows, way, event_rules=[HEARTBEATS, FAILURES])
    assert stays == {"beat young", "beat edge", "other case", "failed", "other"}


def test_the_last_of_each_resource_stay_whatever_their_age(purged: str, way: str) -> None:
    rows = Bulk()
    for resource in ("a", "b"):
        for number in range(5):
            rows.event(f"{resource}{number}", 100 - number, "lab.state", resource)
    # Of one instant: the greater ids are the last.
    for name in "vwxyz":
        rows.event(name, 0.5, "lab.state", "c")
    rows.event("d", 400, "lab.state", "d")
    rows.event("e", 16, "lab.states", "a")
    stays = left(purged, rows, way, event_rules=[LAST])
    assert stays == {"a2", "a3", "a4", "b2", "b3", "b4", "x", "y", "z", "d"}


def test_days_and_last_each_keep_by_themselves(purged: str, way: str) -> None:
    rows = Bulk()
    for number in range(4):
        rows.event(f"a{number}", 50 - number, resource="a")
        rows.event(f"b{number}", 2 + number / 10, resource="b")
    kept = {"days": 10, "last": 2}
    stays = left(purged, rows, way, event_rules=[{"resources": ["?"], "keep": kept}])
    assert stays == {"a2", "a3", "b0", "b1", "b2", "b3"}


def test_the_first_rule_that_fits_decides_and_all_that_it_names_must_fit(
    purged: str, way: str
) -> None:
    rows = Bulk()
    rows.event("first", 50, "lab.a", "pool")
    rows.event("second", 50, "lab.a", "run")
    rows.event("none", 50, "lab.b", "run")
    rules = [
        {"events": ["lab.a"], "resources": ["po*"], "keep": "forever"},
        {"events": ["lab.a"], "keep": {"days": 1}},
        {"events": ["lab.a", "lab.b"], "resources": ["run"], "keep": "forever"},
    ]
    assert left(purged, rows, way, event_rules=rules) == {"first", "none"}


def test_signs_that_are_wild_in_a_database_stand_for_themselves(purged: str, way: str) -> None:
    rows = Bulk()
    for name, kind in (
        ("per cent", "50%"), ("per", "500"), ("under", "a_b"), ("score", "aXb"),
        ("class", "[ab]"), ("a", "a"), ("back", "\\%"), ("quote", "it's :x"),
    ):  # fmt: skip
        rows.event(name, 50, kind)
    kinds = ["50%", "a_?", "[ab]*", "\\%", "it's*:x"]
    stays = left(purged, rows, way, event_rules=[{"events": kinds, "keep": "forever"}])
    assert stays == {"per cent", "under", "class", "back", "quote"}


def test_resources_come_and_go_with_an_event_of_a_rule(purged: str, way: str) -> None:
    rows = Bulk()
    rows.event("beat", 2, "lab.run.heartbeat", resources=[2, 0.5])
    rows.event("fail", 89, "lab.run.Failed", resources=[89, 95, 3])
    rows.event("state", 100, "lab.state", resources=[100])
    rows.event("old", 16, resources=[16, 3])
    rows.event("young", 3, resources=[3, 16])
    rows.resource("gone", 0.1, "nobody")
    stays = left(purged, rows, way, event_rules=[HEARTBEATS, FAILURES, LAST])
    assert stays == {"fail", "fail+0", "fail+1", "fail+2", "state", "state+0", "young", "young+0"}


def test_what_comes_meanwhile_stays_and_lets_nothing_go_that_the_plan_keeps(
    purged: str, way: str
) -> None:
    rows, more = Bulk(), Bulk()
    for number in range(5):
        rows.event(f"a{number}", 100 - number, "lab.state", "a")
    rows.event("b0", 100, "lab.state", "b")
    rows.event("old", 16)
    more.event("a5", 0.01, "lab.state", "a")
    # Sent late, of a resource that has no more than its rule keeps, and of one that came just now.
    more.event("b1", 90, "lab.state", "b")
    more.event("c1", 90, "lab.state", "c")
    with at_first_batch("events", lambda: put(purged, more)) as pace:
        stays = left(purged, rows, way, pace, event_rules=[LAST])
    assert stays == {"a2", "a3", "a4", "a5", "b0", "b1", "c1"}


def test_the_oldest_that_is_due_is_what_the_rules_would_make_go(purged: str, way: str) -> None:
    rules: dict[str, Any] = {
        "event_rules": [{**LAST, "keep": {"last": 3, "days": 50}}, FAILURES, HEARTBEATS]
    }
    rows = Bulk()
    rows.event("fail", 89, "lab.run.Failed", resources=[89, 95])
    for number in range(4):
        rows.event(f"a{number}", 80 - number, "lab.state", resources=[80 - number])
    rows.event("b0", 40, "lab.state", "b", resources=[40])
    fill_by_hand(purged, rows)
    assert [due(purged, table, **rules) for table in ("events", "event_resources")] == [
        instant(80)
    ] * 2
    assert left(purged, rows, way, **rules) >= {"fail", "fail+1", "a1", "a2", "a3", "b0"}
    assert [due(purged, table, **rules) for table in ("events", "event_resources")] == [None] * 2
    more = Bulk()
    more.event("beat", 2, "lab.run.heartbeat", resources=[2])
    put(purged, more)
    assert due(purged, "event_resources", **rules) == instant(2)


def test_the_plan_says_what_each_rule_makes_go_and_why_old_events_stay(
    purged: str, way: str
) -> None:
    rows = Bulk()
    for number, days in enumerate((100, 95, 80, 3)):
        rows.event(f"f{number}", days, "lab.run.Failed", resources=[days] if days != 95 else [])
    for number in range(5):
        rows.event(f"s{number}", 100 - number, "lab.state", resources=[] if number else [3])
    for number, days in enumerate((20, 18, 1)):
        rows.event(f"o{number}", days, resources=[days] if days != 18 else [])
    fill_by_hand(purged, rows)
    strategy = "rewrite" if way == "rewrite" else "delete"
    asked = asked_of(purged, event_rules=[FAILURES, LAST, HEARTBEATS], purge_strategy=strategy)
    plan = run_step("purge", asked, check=True).report.plan
    assert [
        (one.kind, one.number, one.name, one.rows, one.kept, one.oldest, one.newest)
        for one in plan.rules
    ] == [
        ("event", 1, "failures", 2, 2, instant(100), instant(95)),
        ("event", 2, "rule 2", 2, 3, instant(100), instant(99)),
        ("event", 3, "rule 3", 0, 0, None, None),
        ("event", 0, "the general policy", 2, 1, instant(20), instant(18)),
        ("resource", 1, "failures", 1, 2, instant(100), instant(100)),
        ("resource", 2, "rule 2", 1, 0, instant(3), instant(3)),
        ("resource", 3, "rule 3", 0, 0, None, None),
        ("resource", 0, "the general policy", 1, 1, instant(20), instant(20)),
    ]
    assert {one.bytes is None for one in plan.rules} == {way == "sqlite"}
    kept = [(kept.what, kept.rows, kept.why) for kept in plan.kept if kept.reason == "rule"]
    assert sorted(kept) == [
        ("event_resources", 1, "kept by rule 'failures', for 90 days"),
        ("events", 1, "kept by rule 'failures', for 90 days"),
        ("events", 3, "kept by rule 'rule 2', among the last 3"),
    ]
