"""Rules for logs by level and logger, and what they leave to the runs that logs belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from bulk import Bulk, due, fill_by_hand, instant, left, names
from maintenance import at_first_batch, engine_for, run_step
from maintenance import request as asked_of
from rewriting import at_the_swap, doing
from statements import heard

from lab.postgres import Postgres

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
    rules = [BELOW_INFO, ERRORS]
    stays = left(purged, rows, way, log_rules=rules)
    assert stays == {"busy debug", "busy audit", "busy now", "done audit", "done now", "gone now"}
    fill_by_hand(purged, rows)
    plan = run_step("purge", asked_of(purged, log_rules=rules), check=True).report.plan
    assert [(one.kind, one.name, one.rows, one.kept, one.oldest) for one in plan.rules] == [
        ("log", "rule 1", 2, 4, instant(4)),
        ("log", "audit", 0, 3, None),
        ("log", "the general policy", 0, 0, None),
    ]
    assert [(kept.rows, kept.why) for kept in plan.kept if kept.what == "log"] == [
        (1, "their flow run is not finished"),
        (3, "kept by rule 'audit', forever"),
    ]


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


HEALTH = {"tags": ["health"], "keep": {"days": 60}, "logs": {"days": 1}}
AUDITED = {"tags": ["audit"], "keep": {"days": 300}, "logs": {"days": 90}}
FOREVER = {"tags": ["legal"], "states": ["FAILED"], "keep": "forever", "logs": "forever"}
OTHERS = {"tags": ["*"], "keep": {"days": 300}}


AGES = (0.5, 2, 16, 89, 100)


def test_a_rule_for_runs_keeps_their_logs_shorter_or_longer(purged: str, way: str) -> None:
    rows = Bulk()
    for tag in ("health", "audit", "legal", "other", ""):
        for state in ("COMPLETED", "FAILED", "RUNNING"):
            run = f"{tag[:3]}{state[0]}"
            rows.run(run, 2, state, tag)
            for days in AGES:
                rows.log(f"{run} {days}", days, run=run)
            rows.log(f"{run} task", 16, task=f"{run}/t")
    stays = left(purged, rows, way, rules=[HEALTH, AUDITED, FOREVER, OTHERS])
    all_of_it = ["0.5", "2", "16", "89", "100", "task"]
    for run, kept in {
        **dict.fromkeys(("heaR", "audR", "legR", "othR", "R", "legF"), all_of_it),
        **{run: ["0.5"] for run in ("heaC", "heaF")},
        **{run: ["0.5", "2", "16", "89", "task"] for run in ("audC", "audF")},
        **{run: ["0.5", "2"] for run in ("legC", "othC", "othF", "C", "F")},
    }.items():
        assert sorted(name.split()[1] for name in stays if name.split()[0] == run) == sorted(kept)


def test_rules_for_logs_come_before_those_of_their_run(purged: str, way: str) -> None:
    rows = Bulk()
    rows.run("audited", 2, tag="audit")
    rows.run("healthy", 2, tag="health")
    rows.log("debug", 4, level=10, run="audited")
    rows.log("info", 4, run="audited")
    rows.log("audit", 400, logger="audit", run="healthy")
    rows.log("healthy info", 4, run="healthy")
    stays = left(purged, rows, way, rules=[HEALTH, AUDITED], log_rules=[BELOW_INFO, ERRORS])
    assert stays == {"info", "audit"}


@pytest.mark.parametrize("way", ["sqlite", "delete"])
def test_logs_of_a_run_that_gains_a_longer_rule_after_the_plan_stay(purged: str) -> None:
    rows = Bulk()
    rows.run("turned", 2)
    rows.log("old", 50)
    rows.log("turned old", 16, run="turned")
    young = [f"young {number}" for number in range(10)]
    for name in young:
        rows.log(name, 1)
    fill_by_hand(purged, rows)
    asked = asked_of(purged, rules=[AUDITED], purge_strategy="delete", batch_size=1)

    def turn() -> None:
        engine = engine_for(purged)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE flow_run SET tags = '[\"audit\"]'"))
        engine.dispose()

    with at_first_batch("log", turn) as pace:
        run_step("purge", asked, pace=pace)
    assert names(purged) == {"turned old", *young}


def retrying(cluster: Postgres, url: str) -> Callable[[], None]:
    """Fill in a run whose log goes by its rule; returns what lets the run come to life."""
    rows = Bulk()
    rows.run("healthy", 2, tag="health")
    rows.log("retried", 2, run="healthy")
    rows.log("old", 16)
    fill_by_hand(url, rows)
    return doing(cluster, url, "UPDATE flow_run SET state_type = 'RUNNING'")


def test_logs_of_a_run_that_comes_to_life_before_the_swap_stay_whatever_its_rule_says(
    cluster: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_swap(monkeypatch, retrying(cluster, database))
    run_step("purge", asked_of(database, rules=[HEALTH], purge_strategy="rewrite"))
    assert names(database) == {"retried"}


def test_logs_of_a_run_that_came_to_life_after_they_were_left_out_stay_whatever_its_rule_says(
    cluster: Postgres, database: str
) -> None:
    retry = retrying(cluster, database)
    looks: list[str] = []

    def act(_cursor: object, statement: str, _values: object) -> None:
        # All that stays has been copied; now it looks for runs that came to life meanwhile.
        if "CREATE TEMPORARY TABLE prefect_maintenance_live" in statement and not looks:
            looks.append(statement)
            retry()

    with heard(act):
        run_step("purge", asked_of(database, rules=[HEALTH], purge_strategy="rewrite"))
    assert looks
    assert names(database) == {"retried"}


def test_the_oldest_log_that_is_due_is_what_the_rules_would_make_go(purged: str, way: str) -> None:
    rules: dict[str, Any] = {"rules": [AUDITED, HEALTH], "log_rules": [ERRORS]}
    rows = Bulk()
    rows.run("audited", 2, tag="audit")
    rows.run("healthy", 2, tag="health")
    rows.log("audit", 400, logger="audit")
    rows.log("audited", 89, run="audited")
    rows.log("healthy", 2, run="healthy")
    fill_by_hand(purged, rows)
    assert due(purged, "log", **rules) == instant(2)
    assert left(purged, rows, way, **rules) == {"audit", "audited"}
    assert due(purged, "log", **rules) is None
