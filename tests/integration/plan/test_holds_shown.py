"""The report lists which tags hold runs, with their reason and end, and what belongs to them."""

from __future__ import annotations

import sqlalchemy as sa
from maintenance import request, run_step
from ruled_scene import RuledScene
from world import NOW, POLICY


def test_each_tag_is_listed_with_what_it_holds_and_wrong_dates_are_warnings(
    engine: sa.Engine,
) -> None:
    scene = RuledScene(POLICY)
    audited = scene.deployment("audited", tags=["hold: asked by the auditors"])
    old = scene.run(40, deployment_id=audited)
    scene.run(3, deployment_id=audited)
    scene.log(old, 39)
    scene.artifact(old, 39)
    scene.task(old, 39)
    scene.run(50, tags=["keep", "keep-until:2026-07-02", "keep-until:2026-06-29", "other"])
    for _ in range(2):
        scene.run(20, tags=["keep-until:soon"])
    scene.run(30)
    scene.put(engine)
    report = run_step("delete", request(engine, run_delete_via="sql"), check=True).report
    told = {
        one.tag: (one.reason, one.until, one.runs, one.oldest, one.rows, one.ends_soon, one.wrong)
        for one in report.holds
    }
    days = {n: f"2026-{month}-{day:02}T12:00:00Z" for n, month, day in (
        (40, "05", 21), (50, "05", 11), (20, "06", 10))}  # fmt: skip
    assert told == {
        "hold: asked by the auditors": (
            "asked by the auditors", None, 2, days[40], 5, False, False),
        "keep": ("", None, 1, days[50], 1, False, False),
        "keep-until:2026-07-02": ("", "2026-07-02", 1, days[50], 1, True, False),
        "keep-until:soon": ("", None, 2, days[20], 2, False, True),
    }  # fmt: skip
    assert {one.bytes is None for one in report.holds} == {engine.dialect.name == "sqlite"}
    assert report.warnings == (
        "the tag 'keep-until:soon' holds 2 runs for good: its date cannot be read; "
        "write keep-until:YYYY-MM-DD",
    )
    assert report.as_json()["holds"][0]["tag"] == "hold: asked by the auditors"
    assert report.deleted["flow_run"] == 1
    assert report.reference_time.startswith(f"{NOW:%Y-%m-%dT%H:%M}")


def test_without_a_tag_that_holds_nothing_is_listed(engine: sa.Engine) -> None:
    scene = RuledScene(POLICY)
    scene.run(50, tags=["keeper"])
    scene.put(engine)
    report = run_step("delete", request(engine, run_delete_via="sql"), check=True).report
    assert "holds" not in report.as_json()
    assert report.warnings == ()
