"""A cap on the rows of a plan, and a plan that is looked at first and applied later as it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import engine_for, fill, request
from prefect_maintenance.request.instants import iso, now
from prefect_maintenance.request.saved_plan import sealed
from prefect_maintenance.run.line import Answer, announced, carry_out
from world import POLICY, dump

BOTH = pytest.mark.parametrize("world", ["database", "sqlite_database"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("world", ["sqlite_database"], indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """A database of which some must go, in the purge and in the deletion."""
    engine = engine_for(str(request.getfixturevalue(request.param)))
    fill(engine, seed=5)
    yield engine
    engine.dispose()


def run(world: sa.Engine, *, check: bool = False, host: str = "demo", **asked: Any) -> Answer:
    """Carry out the steps of a run as the role does, up to the one that fails."""
    report: dict[str, Any] = {"host": host}
    for step in ("purge", "delete", "vacuum"):
        common: dict[str, Any] = {
            "before": announced(step, "none"),
            "report": report,
            "run_delete_via": "sql",
        }
        done = carry_out(step, request(world, **common, vacuum="none", **asked), check=check)
        report = done.report
        if done.failure:
            break
    return done


def saved(world: sa.Engine, **asked: Any) -> dict[str, Any]:
    """Make the plan of a run; nothing is changed by it."""
    before = dump(world)
    found: dict[str, Any] = run(world, check=True, save_plan=True, **asked).answers["saved_plan"]
    assert dump(world) == before
    return found


def refused(world: sa.Engine, *said: str, **asked: Any) -> str:
    """Make sure that a run is refused before it changes anything; a check tells the same."""
    before, checked = dump(world), run(world, check=True, **asked)
    done = run(world, **asked)
    assert dump(world) == before
    assert done.failure is not None
    assert done.failure.startswith("nothing was deleted: ")
    assert "\n" not in done.failure
    assert done.report["status"] == "failed"
    assert checked.failure is None
    assert f"a run would be refused: {checked.report['refused']}" in checked.report["warnings"]
    for part in said:
        assert part in done.failure, done.failure
        assert part in checked.report["refused"]
    assert done.report["remedies"][-1]["do"] in done.failure
    return done.failure


def rows_of(done: Answer) -> int:
    return sum(done.report["deleted"].values())


@BOTH
def test_one_row_more_than_the_cap_is_refused_before_the_purge_begins(world: sa.Engine) -> None:
    purged = carry_out("purge", request(world), check=True)
    total = rows_of(run(world, check=True))
    assert 0 < rows_of(purged) < total - 1
    said = refused(world, f"{total:,} rows would go", f"({total - 1:,})", max_rows=total - 1)
    assert "log " in said
    assert "task_run " in said

    within = run(world, check=True, max_rows=total)
    assert "refused" not in within.report
    assert rows_of(run(world, max_rows=total)) == total


@ON_SQLITE
def test_a_deletion_counts_what_the_run_has_purged(world: sa.Engine) -> None:
    total = rows_of(run(world, check=True))
    purged = carry_out("purge", request(world, max_rows=total - 1), check=False)
    assert purged.failure is None
    before = dump(world)
    asked = request(world, max_rows=total - 1, run_delete_via="sql", report=purged.report)
    done = carry_out("delete", asked, check=False)
    assert done.failure is not None
    assert done.failure.startswith(f"nothing more was deleted: {total:,} rows would go")
    assert dump(world) == before


@BOTH
def test_a_plan_is_applied_as_it_was_and_a_second_time_changes_nothing(world: sa.Engine) -> None:
    plan = saved(world)
    assert plan["reference_time"] == iso(POLICY.now)
    assert plan["fingerprint"] == plan["plan"]["fingerprint"]
    # Days later, when more would be due, the same rows go.
    asked: dict[str, Any] = {"saved_plan": plan, "reference_time": None}
    done = run(world, **asked)
    assert done.failure is None
    assert {t: n for t, n in done.report["deleted"].items() if n} == plan["rows"]
    assert done.report["reference_time"] == plan["reference_time"]
    total = sum(plan["rows"].values())
    applied = {"made": plan["made"], "fingerprint": plan["fingerprint"], "planned": total}
    assert done.report["saved_plan"] == {**applied, "found": total}

    left = dump(world)
    again = run(world, **asked)
    assert again.failure is None
    assert rows_of(again) == 0
    assert again.report["saved_plan"] == {**applied, "found": 0}
    assert dump(world) == left


@ON_SQLITE
def test_what_differs_from_the_plan_is_refused_and_named(world: sa.Engine) -> None:
    rules: dict[str, Any] = {
        "log_rules": [{"below": "INFO", "keep": {"days": 30}}],
    }
    plan = saved(world, **rules)
    assert "refused" not in run(world, check=True, saved_plan=plan, **rules).report
    later = {"reference_time": iso(POLICY.now + timedelta(days=1))}
    shorter = {"log_rules": [{"below": "INFO", "keep": {"days": 20}}]}
    for asked, said in (
        ({"retention": {"logs": 14}}, "retention.logs was 15, is 14"),
        ({"states": ["FAILED"]}, "states was COMPLETED, FAILED, CANCELLED, is FAILED"),
        (shorter, "log_rules: rule 1 keep.days was 30, is 20"),
        ({"hold_tags": []}, "hold_tags was keep, keep-until:*, hold:*, is not there"),
        ({"purge_strategy": "delete"}, "purge_strategy was auto, is delete"),
        ({"host": "other"}, "host was demo, is other"),
        (later, f"reference_time was {iso(POLICY.now)}, is "),
    ):
        refused(world, said, saved_plan=plan, **{**rules, **asked})


@ON_SQLITE
def test_a_deletion_is_refused_where_an_option_of_its_own_differs(world: sa.Engine) -> None:
    plan, before = saved(world), dump(world)
    done = carry_out("delete", request(world, saved_plan=plan), check=False)
    assert done.failure is not None
    assert "run_delete_via was sql, is auto" in done.failure
    assert dump(world) == before


@ON_SQLITE
def test_a_plan_of_other_circumstances_is_refused(world: sa.Engine) -> None:
    plan = saved(world)
    for changed, said in (
        ({"revision": "abc"}, "revision was abc, is "),
        ({"tool": "0.0.1"}, "tool was 0.0.1, is "),
        ({"database": "SQLite /elsewhere"}, "database was SQLite /elsewhere, is SQLite "),
        ({"made": iso(now() - timedelta(days=31))}, "it is 31 days old, more than 30"),
    ):
        refused(world, said, saved_plan=sealed({**plan, **changed}))


@pytest.mark.parametrize("world", ["database"], indirect=True)
def test_a_plan_of_a_copy_of_the_database_is_refused(
    world: sa.Engine, template: str, cluster: Any
) -> None:
    plan = saved(world)
    copy = engine_for(cluster.create_database("a_copy", template))
    fill(copy, seed=5)
    try:
        refused(copy, "database was PostgreSQL ", saved_plan=plan)
    finally:
        copy.dispose()
        cluster.drop_database("a_copy")


@ON_SQLITE
def test_a_plan_that_was_changed_by_hand_is_refused(world: sa.Engine) -> None:
    plan = saved(world)
    for changed, said in (
        ({**plan, "rows": {"log": 10**9}}, "it was changed after it was made, or is not whole"),
        ({**plan, "schema": 2}, "its form is 2, this version reads form 1"),
        ({"rows": {}}, "it is no plan"),
        (sealed({"schema": 1}), "it is not whole"),
    ):
        before = dump(world)
        done = run(world, saved_plan=changed)
        assert done.failure is not None
        assert said in done.failure
        assert dump(world) == before


@ON_SQLITE
def test_more_rows_than_planned_are_refused_from_the_percentage_on(world: sa.Engine) -> None:
    plan = saved(world)
    then = plan["rows"]["log"]
    more = then // 10 + 1
    with world.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log (id, name, level, message, timestamp) "
                "VALUES (:id, 'l', 20, 'm', '2026-01-01 00:00:00.000000')"
            ),
            [{"id": f"00000000-0000-4000-8000-{n:012}"} for n in range(more)],
        )
    said = f"log: {then:,} rows then, {then + more:,} now, more than plan_drift 10 % allows"
    refused(world, said, saved_plan=plan)
    allowed = -(-100 * more // then)
    done = run(world, saved_plan=plan, plan_drift=allowed)
    assert done.failure is None
    assert done.report["deleted"]["log"] == then + more


@ON_SQLITE
def test_the_rest_of_a_plan_that_was_begun_is_applied(world: sa.Engine) -> None:
    plan = saved(world)
    purged = carry_out("purge", request(world, saved_plan=plan), check=False)
    assert purged.failure is None
    assert purged.changed
    rest = run(world, saved_plan=plan)
    assert rest.failure is None
    assert 0 < rest.report["saved_plan"]["found"] < rest.report["saved_plan"]["planned"]
    assert rows_of(run(world, check=True)) == 0


@ON_SQLITE
def test_a_plan_has_what_each_rule_makes_go_and_is_applied_with_its_rules(world: sa.Engine) -> None:
    rules = [{"name": "failures", "states": ["FAILED"], "keep": {"days": 15}}]
    plan = saved(world, rules=rules)
    assert [one["name"] for one in plan["rules"]] == ["failures", "the general policy"]
    assert sum(one["rows"] for one in plan["rules"]) == plan["rows"]["flow_run"]
    done = run(world, saved_plan=plan, rules=rules)
    assert done.failure is None
    assert rows_of(done) == sum(plan["rows"].values())


@ON_SQLITE
def test_a_check_that_the_cap_refuses_says_so_in_its_plan(world: sa.Engine) -> None:
    assert "more than max_rows (1)" in saved(world, max_rows=1)["refused"]
    assert "refused" not in saved(world)
