"""Stuck runs are ended through the API, unless anything at all shows that they live."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from maintenance import (
    at_first_batch,
    engine_for,
    refused,
    request,
    run_step,
)
from paces import paced
from prefect_maintenance.errors import SettingsError, Stopped
from prefect_maintenance.execute import stuck as execute
from prefect_maintenance.pace.governors import Moment, Stop
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.plan import stuck
from prefect_maintenance.request.settings import Api, Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.server.api import open_api
from takers import Instead, between
from unfinished import STUCK, Unfinished, states, told
from workers import heartbeat
from world import dump

from lab.server import PrefectServer


def test_exactly_the_runs_without_a_sign_of_life_are_ended(
    either_server: PrefectServer, unfinished: Unfinished, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = unfinished
    for name, state, days in (
        ("dead", "RUNNING", 9),
        ("never submitted", "PENDING", 3),
        ("never cancelled", "CANCELLING", 8),
        ("forgotten pause", "PAUSED", 30),
    ):
        runs.run(name, state, days)
    dead = runs.run("dead with all that it had")
    runs.log(dead, 8)
    runs.artifact(dead, 8)
    runs.event(dead, 8)
    at_work, finished = runs.task(dead), runs.task(dead, state="COMPLETED")
    parent = runs.run("dead parent", days=10)
    runs.run("dead in its process", parent_task_run_id=runs.task(parent))
    runs.run("young", days=6)
    runs.run("pending for not so long", "PENDING", 1)
    runs.log(runs.run("logs"), 0.1)
    runs.event(runs.run("heartbeats"), 0.1)
    runs.task(runs.run("works on tasks"), 0.1)
    runs.artifact(runs.run("shows its progress"), 0.1)
    waiting = runs.run("waits for a subflow")
    runs.run("subflow", days=0.1, parent_task_run_id=runs.task(waiting))
    alive = runs.run("lives")
    runs.log(alive, 0.1)
    runs.run("in a process that lives", parent_task_run_id=runs.task(alive))
    runs.run("in a process of its own", parent_task_run_id=runs.task(alive),
             deployment_id=runs.world.new_id())  # fmt: skip
    runs.run("held", tags='["a", "keep"]')
    held_from = runs.run("held parent", tags='["hold:audit"]')
    runs.run("below a hold", parent_task_run_id=runs.task(held_from))
    runs.artifact(None, 8)
    runs.task(None, state="COMPLETED")
    own = runs.run("the maintenance itself")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", own)
    runs.insert()
    before = states(runs.engine)
    young = {"artifacts": 5, "task_runs": 5}
    asked = request(
        either_server, None, retention=young, stuck=STUCK, reference_time=runs.now.isoformat()
    )
    checked = run_step("delete", asked, check=True)
    assert states(runs.engine) == before
    done = run_step("delete", asked)
    ends = {run.name for run in done.report.stuck if run.done}
    assert ends == {
        "dead", "never submitted", "never cancelled", "forgotten pause",
        "dead with all that it had", "dead parent", "dead in its process",
        "in a process of its own",
    }  # fmt: skip
    after = states(runs.engine)
    assert after == before | dict.fromkeys(ends, "CRASHED")
    assert {run.name for run in checked.report.stuck if run.due} == ends
    why = {name: run.why_not for name, run in told(done).items() if not run.done}
    assert set(why) == {
        "logs", "heartbeats", "works on tasks", "shows its progress", "waits for a subflow",
        "lives", "in a process that lives", "held", "held parent", "below a hold",
    }  # fmt: skip
    assert why == {n: run.why_not for n, run in told(checked).items() if not run.due}
    for name, sign in (("logs", "a log"), ("heartbeats", "an event"), ("works on tasks", "a task"),
                       ("shows its progress", "an artifact"), ("waits for a subflow", "a subflow"),
                       ("in a process that lives", "a log")):  # fmt: skip
        assert f"it gave a sign of life: {sign}" in str(why[name])
    assert {str(why[name]) for name in ("held", "held parent", "below a hold")} == {stuck._HOLD}
    left = dump(runs.engine, ["flow_run_state", "task_run"])
    messages = {state["message"] for state in left["flow_run_state"].values()} - {None}
    assert messages == {
        f"ended by prefect_maintenance: {state} without a sign of life"
        for state in ("RUNNING for 9 days", "RUNNING for 10 days", "PENDING for 3 days",
                      "CANCELLING for 8 days", "PAUSED for 30 days")
    }  # fmt: skip
    assert left["task_run"][at_work]["state_type"] == "CRASHED"
    assert left["task_run"][finished]["state_type"] == "COMPLETED"
    assert (checked.changed, done.changed) == (True, True)
    # What belonged to a run that was unfinished when that was planned goes with the next run.
    again = run_step("delete", asked).report
    for report in (checked.report, done.report, again):
        deleted = {table: n for table, n in report.deleted.items() if n}
        assert deleted == {"artifact": 1, "task_run": 1}
    assert not any(run.done for run in again.stuck)


def test_a_run_that_comes_to_life_after_the_plan_stays(
    shared_server: PrefectServer,
) -> None:
    runs = Unfinished(engine_for(shared_server.db_url))
    for name in ("logs again", "ends by itself", "goes on", "dead"):
        runs.run(name)
    runs.insert()
    ids = {run["name"]: run["id"] for run in runs.world.rows["flow_run"]}

    def come_to_life() -> None:
        with runs.engine.begin() as others:
            others.execute(
                sa.text(
                    "INSERT INTO log (id, name, level, message, timestamp, flow_run_id) "
                    "VALUES (gen_random_uuid(), 'l', 20, 'm', now(), :run)"
                ),
                {"run": ids["logs again"]},
            )
            goes_on = "UPDATE flow_run SET state_timestamp = now() WHERE id = :run"
            others.execute(sa.text(goes_on), {"run": ids["goes on"]})

    def end(path: str) -> None:
        """End a run right after the engine has asked about it, before its call arrives."""
        if path.endswith(f"{ids['ends by itself']}/set_state"):
            with open_api(Api(shared_server.api_url)) as api:
                api.ask("POST", path.removeprefix("/api"), json={"state": {"type": "COMPLETED"}})

    with (
        at_first_batch("flow_run", come_to_life) as pace,
        between(shared_server, instead=end) as url,
    ):
        asked = request(shared_server.db_url, None, api_url=url, stuck=STUCK)
        done = told(run_step("delete", asked, pace=pace))
    assert [name for name, run in done.items() if run.done] == ["dead"]
    assert "a sign of life: a log" in str(done["logs again"].why_not)
    assert done["goes on"].why_not == "it moved on meanwhile"
    assert done["ends by itself"].why_not == (
        "the server answered ABORT: Run is already in terminal state COMPLETED"
    )
    assert states(runs.engine) == {
        "logs again": "RUNNING", "ends by itself": "COMPLETED", "goes on": "RUNNING",
        "dead": "CRASHED",
    }  # fmt: skip
    runs.engine.dispose()


def test_a_run_stays_while_its_worker_is_heard_of_and_has_not_started_anew(
    shared_server: PrefectServer,
) -> None:
    runs = Unfinished(engine_for(shared_server.db_url))
    with open_api(Api(shared_server.api_url)) as api:
        api.ask("POST", "/work_pools/", json={"name": "stuck-pool", "type": "process"})
        for worker in ("lives", "restarted"):
            heartbeat(shared_server, "stuck-pool", worker)
        runs.run("of a worker that lives", worker="lives")
        runs.run("suspended", "PAUSED", worker="lives", state_name="Suspended")
        runs.run("of a worker that started anew", worker="restarted")
        runs.run("of a worker that is gone", worker="gone")
        runs.run("of nobody")
        runs.insert()
        # It started twice: once for this run, once after it.
        for days, worker in ((10, "lives"), (10, "restarted"), (3, "restarted")):
            started(runs, worker, days)
        done = told(run_step("delete", request(shared_server, None, stuck=STUCK)))
        api.ask("DELETE", "/work_pools/stuck-pool")
    left = {name: run.why_not for name, run in done.items() if not run.done}
    assert left == {"of a worker that lives": "its worker lives still sends heartbeats"}
    assert len(done) == 5
    runs.engine.dispose()


def started(runs: Unfinished, worker: str, days: float) -> None:
    resource = f'{{"prefect.resource.name": "{worker}"}}'
    row = {"at": runs.ago(days), "resource": resource, "id": f"prefect.worker.process.{worker}"}
    with runs.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO events (id, event, occurred, received, recorded, resource_id, "
                "resource, payload, related, related_resource_ids) VALUES (gen_random_uuid(), "
                "'prefect.worker.started', :at, :at, :at, :id, CAST(:resource AS json), "
                "'{}', '[]', '[]')"
            ),
            row,
        )


def test_without_an_api_stuck_runs_are_refused_before_anything_is_done(filled: str) -> None:
    refused("delete", request(filled, stuck=STUCK), SettingsError,
            "api_url is missing: stuck runs are ended through the API")  # fmt: skip


def test_a_stop_leaves_the_others_for_the_next_run(shared_server: PrefectServer) -> None:
    runs = Unfinished(engine_for(shared_server.db_url))
    for days in (9, 10):
        runs.run(f"{days} days", days=days)
    runs.insert()
    pace = paced(None, Budget())
    asked = request(shared_server, None, stuck=STUCK)
    outcome = STEPS["delete"](Settings.parse(asked, check=False), pace)
    assert isinstance(outcome.error, Stopped)
    assert states(runs.engine) == {"9 days": "RUNNING", "10 days": "CRASHED"}
    assert {name: run.done for name, run in told(outcome).items()} == {
        "9 days": False, "10 days": True,
    }  # fmt: skip
    assert outcome.changed
    runs.engine.dispose()


class Budget:
    """Wants the end after the first call for a stuck run."""

    calls = 0

    def __call__(self, moment: Moment) -> Stop | None:
        self.calls += moment.at == "flow_run"
        return Stop("enough") if self.calls > 1 else None


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_fails_is_told_of_and_the_deletion_goes_on(
    shared_server: PrefectServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(execute, "TRIES", 2)
    engine = engine_for(shared_server.db_url)
    runs = Unfinished(engine)
    for number in range(5):
        runs.run(f"dead {number}")
    old = runs.run("old", "COMPLETED", days=60, end_time=runs.ago(60))
    runs.insert()
    asked: list[str] = []

    def fail(path: str) -> Instead | None:
        asked.extend([path] * path.endswith("/set_state"))
        return (status, {"Retry-After": "0"}) if path.endswith("/set_state") else None

    with between(shared_server, instead=fail) as url:
        settings = request(shared_server.db_url, None, api_url=url, stuck=STUCK)
        outcome = STEPS["delete"](Settings.parse(settings, check=False), Pace())
    assert "calls for stuck runs failed, the first: the Prefect API answered" in str(outcome.error)
    # Three in a row are enough, and one that is only busy is asked again.
    assert len(asked) == 3 * (2 if status == 503 else 1)
    assert len(set(asked)) == 3
    assert old not in dump(engine, ["flow_run"])["flow_run"]
    assert set(states(engine).values()) == {"RUNNING"}
    engine.dispose()
