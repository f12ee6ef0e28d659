"""Stuck runs are ended through the API, unless anything at all shows that they live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import at_first_batch, clear, engine_for, request, run_step, wait_until
from prefect_maintenance.plan import stuck
from prefect_maintenance.plan.stuck import StuckRun
from prefect_maintenance.request.settings import Api
from prefect_maintenance.run.outcome import Outcome
from prefect_maintenance.server.api import open_api
from takers import between
from unfinished import Unfinished
from workers import heartbeat
from world import dump

from lab.server import PrefectServer

STUCK = {"RUNNING": 7, "PENDING": 2, "CANCELLING": 7, "PAUSED": 7, "LATE": 3}


@pytest.fixture(params=["shared_server", "shared_sqlite_server"])
def server(request: pytest.FixtureRequest) -> PrefectServer:
    server: PrefectServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def runs(server: PrefectServer) -> Iterator[Unfinished]:
    engine = engine_for(server.db_url)
    yield Unfinished(engine)
    engine.dispose()


def told(outcome: Outcome) -> dict[str, StuckRun]:
    """What a step reports of stuck runs, by their names."""
    return {run.name: run for run in outcome.report.stuck}


def states(engine: sa.Engine) -> dict[str, Any]:
    """The states of all runs that are there, by name."""
    return {
        run["name"]: run["state_type"] for run in dump(engine, ["flow_run"])["flow_run"].values()
    }


def test_exactly_the_runs_without_a_sign_of_life_are_ended(
    server: PrefectServer, runs: Unfinished, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    own = runs.run("the maintenance itself")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", own)
    runs.insert()
    before = states(runs.engine)
    asked = request(server, None, stuck=STUCK, reference_time=runs.now.isoformat())
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
    assert set(done.report.deleted.values()) == {0}
    assert not run_step("delete", asked).changed


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


def test_the_slot_of_a_limit_is_free_again(shared_server: PrefectServer) -> None:
    engine = engine_for(shared_server.db_url)
    clear(engine)
    with open_api(Api(shared_server.api_url)) as api:
        flow = api.ask("POST", "/flows/", json={"name": "limited"})["id"]
        limited = {"name": "limited", "flow_id": flow, "concurrency_limit": 1}
        deployment = api.ask("POST", "/deployments/", json=limited)["id"]
        by_tag = {"name": "tag:stuck", "limit": 1}
        limit = api.ask("POST", "/v2/concurrency_limits/", json=by_tag)["id"]

        def make() -> str:
            made = api.ask("POST", f"/deployments/{deployment}/create_flow_run", json={})
            return str(made["id"])

        def enter(kind: str, run: str, state: str) -> str:
            asked = {"state": {"type": state}}
            return str(api.ask("POST", f"/{kind}/{run}/set_state", json=asked)["status"])

        def make_task(of: str) -> str:
            asked = {"flow_run_id": of, "task_key": "t", "dynamic_key": of, "tags": ["stuck"]}
            return str(api.ask("POST", "/task_runs/", json=asked)["id"])

        dead, waiting = make(), make()
        other = api.ask("POST", "/flow_runs/", json={"flow_id": flow, "state": {"type": "RUNNING"}})
        assert enter("flow_runs", dead, "PENDING") == "ACCEPT"
        assert enter("flow_runs", dead, "RUNNING") == "ACCEPT"
        holder, queued = make_task(dead), make_task(other["id"])
        assert enter("task_runs", holder, "RUNNING") == "ACCEPT"

        assert enter("flow_runs", waiting, "PENDING") == "REJECT"
        assert enter("task_runs", queued, "RUNNING") == "WAIT"
        make_old(engine, dead)
        done = run_step("delete", request(shared_server, None, stuck=STUCK))
        assert [run.done for run in done.report.stuck] == [True]
        assert enter("flow_runs", waiting, "PENDING") == "ACCEPT"
        assert enter("task_runs", queued, "RUNNING") == "ACCEPT"
        for path in (
            f"/deployments/{deployment}",
            f"/flows/{flow}",
            f"/v2/concurrency_limits/{limit}",
        ):
            api.ask("DELETE", path)
    engine.dispose()


def make_old(engine: sa.Engine, run: str) -> None:
    """Let all that is known of a run have happened nine days ago, once its events are written."""
    of_run = f"resource_id = 'prefect.flow-run.{run}'"
    written = sa.text(
        f"SELECT count(*) >= 2 FROM events WHERE {of_run} "
        "AND event IN ('prefect.flow-run.Pending', 'prefect.flow-run.Running')"
    )

    def are_written() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(written))

    wait_until(are_written)
    with engine.begin() as connection:
        for table, columns, where in (
            ("flow_run", ("state_timestamp", "created", "start_time"), f"id = '{run}'"),
            ("flow_run_state", ("timestamp",), f"flow_run_id = '{run}'"),
            ("task_run", ("state_timestamp", "created"), f"flow_run_id = '{run}'"),
            ("events", ("occurred",), of_run),
            ("event_resources", ("occurred",), of_run),
        ):
            aged = ", ".join(f"{column} = {column} - interval '9 days'" for column in columns)
            connection.execute(sa.text(f"UPDATE {table} SET {aged} WHERE {where}"))


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


def test_late_runs_that_nobody_holds_back_are_deleted(
    server: PrefectServer, runs: Unfinished
) -> None:
    with open_api(Api(server.api_url)) as api:
        flow = api.ask("POST", "/flows/", json={"name": "late"})["id"]
        pools = {}
        for pool, halted in (("open-pool", False), ("halted-pool", True)):
            api.ask("POST", "/work_pools/", json={"name": pool, "type": "process"})
            api.ask("PATCH", f"/work_pools/{pool}", json={"is_paused": halted})
            pools[pool] = api.ask("GET", f"/work_pools/{pool}/queues/default")["id"]
        halted = {"name": "q", "is_paused": True}
        queue = api.ask("POST", "/work_pools/open-pool/queues", json=halted)["id"]
        made = [
            api.ask("POST", "/deployments/", json={"name": str(n), "flow_id": flow, "paused": n})
            for n in (False, True)
        ]
        waiting, sleeping = (str(deployment["id"]) for deployment in made)

        def late(name: str, state_name: str = "Late", days: float = 9, **more: Any) -> str:
            return runs.run(name, "SCHEDULED", days, state_name=state_name, **more)

        gone = [
            late("late"),
            late("scheduled", "Scheduled"),
            late("of a deployment", deployment_id=waiting, work_queue_id=pools["open-pool"]),
            late("tagged", tags='["a"]'),
        ]
        runs.log(gone[0], 1)
        held_back = {
            late("of a paused deployment", deployment_id=sleeping): "its deployment is paused",
            late("in a paused queue", work_queue_id=queue): "its work queue q is paused",
            late(
                "in a paused pool", work_queue_id=pools["halted-pool"]
            ): "its work pool halted-pool is paused",
            late("held", tags='["keep"]'): stuck._HOLD,
        }
        late("lies ahead", "Scheduled", days=-1)
        late("not yet so late", days=2)
        late("was given another time", next_scheduled_start_time=runs.ago(-1))
        late("awaits a retry", "AwaitingRetry")
        late("had started", start_time=runs.ago(9), run_count=1)
        late("awaits a slot", "AwaitingConcurrencySlot")
        late("is waited for", parent_task_run_id=runs.task(runs.run("waits", days=1)))
        runs.insert()
        before = dump(runs.engine)
        asked = request(server, None, stuck={"LATE": 3}, reference_time=runs.now.isoformat())
        checked = run_step("delete", asked, check=True)
        assert dump(runs.engine) == before
        done = run_step("delete", asked)
        assert not run_step("delete", asked).changed
        for path in ("/work_pools/open-pool", "/work_pools/halted-pool", f"/flows/{flow}"):
            api.ask("DELETE", path)
    assert set(before["flow_run"]) - set(dump(runs.engine, ["flow_run"])["flow_run"]) == set(gone)
    assert {run.id for run in done.report.stuck if run.done} == set(gone)
    assert {run.id: run.why_not for run in done.report.stuck if not run.done} == held_back
    rows = {"flow_run": 4, "flow_run_state": 4, "log": 1}
    for outcome in (checked, done):
        deleted = {table: n for table, n in outcome.report.deleted.items() if n}
        assert deleted == rows
        assert outcome.report.table("flow_run").ways == {"late": 4}
        assert outcome.changed


def test_a_late_run_that_is_given_another_time_or_a_hold_after_the_question_stays(
    shared_server: PrefectServer,
) -> None:
    runs = Unfinished(engine_for(shared_server.db_url))
    for name in ("late", "is put off", "starts", "is held"):
        runs.run(name, "SCHEDULED", state_name="Late")
    runs.insert()
    changes = {
        "is put off": "next_scheduled_start_time = now() + interval '1 day'",
        "starts": "state_type = 'PENDING', state_name = 'Pending'",
        "is held": "tags = '[\"keep\"]'",
    }

    def change(path: str) -> None:
        if not path.endswith("/bulk_delete"):
            return
        with runs.engine.begin() as others:
            for name, what in changes.items():
                others.execute(sa.text(f"UPDATE flow_run SET {what} WHERE name = '{name}'"))

    with between(shared_server, instead=change) as url:
        asked = request(shared_server.db_url, None, api_url=url, stuck=STUCK)
        done = told(run_step("delete", asked))
    assert set(states(runs.engine)) == set(changes)
    assert {name for name, run in done.items() if run.done} == {"late"}
    assert {done[name].why_not for name in changes} == {"it moved on meanwhile"}
    runs.engine.dispose()
