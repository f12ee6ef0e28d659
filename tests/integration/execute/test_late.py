"""Late runs that never started are deleted through the API, unless something holds them back."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import engine_for, refused, request, run_step
from prefect_maintenance.errors import PlanRefused
from prefect_maintenance.plan import stuck
from prefect_maintenance.request.settings import Api
from prefect_maintenance.server.api import open_api
from takers import Instead, between
from unfinished import STUCK, Unfinished, states, told
from world import TABLES, dump

from lab.server import PrefectServer


def test_late_runs_that_nobody_holds_back_are_deleted(
    either_server: PrefectServer, unfinished: Unfinished
) -> None:
    runs = unfinished
    with open_api(Api(either_server.api_url)) as api:
        flow = api.ask("POST", "/flows/", json={"name": "late"})["id"]
        pools = {}
        for pool, halted in (("open-pool", False), ("halted-pool", True)):
            api.ask("POST", "/work_pools/", json={"name": pool, "type": "process"})
            api.ask("PATCH", f"/work_pools/{pool}", json={"is_paused": halted})
            pools[pool] = api.ask("GET", f"/work_pools/{pool}/queues/default")["id"]
        asleep = {"name": "q", "is_paused": True}
        queue = api.ask("POST", "/work_pools/open-pool/queues", json=asleep)["id"]
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
        # The server writes events of its pools and queues when it comes to it.
        ours = [table for table in TABLES if table not in ("events", "event_resources")]
        before = dump(runs.engine, ours)
        asked = request(either_server, None, stuck={"LATE": 3}, reference_time=runs.now.isoformat())
        checked = run_step("delete", asked, check=True)
        assert dump(runs.engine, ours) == before
        purge = {**asked, "before": ["delete"], "max_rows": 8}
        refused("purge", purge, PlanRefused, "nothing was deleted: 9 rows would go", "flow_run 4")
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


@pytest.mark.parametrize("guarded", [True, False])
def test_a_late_run_that_is_given_another_time_or_a_hold_after_the_question_stays(
    shared_server: PrefectServer, guarded: bool
) -> None:
    """Servers before Prefect 3.6.16 have no guarded deletion; there each run is asked once more."""
    runs = Unfinished(engine_for(shared_server.db_url))
    for name in ("late", "is put off", "starts", "is held"):
        runs.run(name, "SCHEDULED", state_name="Late")
    runs.insert()
    changes = {
        "is put off": "next_scheduled_start_time = now() + interval '1 day'",
        "starts": "state_type = 'PENDING', state_name = 'Pending'",
        "is held": "tags = '[\"keep\"]'",
    }

    def change(path: str) -> Instead | None:
        if not path.endswith("/bulk_delete"):
            return None
        with runs.engine.begin() as others:
            for name, what in changes.items():
                others.execute(sa.text(f"UPDATE flow_run SET {what} WHERE name = '{name}'"))
        return None if guarded else (404, {})

    with between(shared_server, instead=change) as url:
        asked = request(shared_server.db_url, None, api_url=url, stuck=STUCK)
        done = told(run_step("delete", asked))
    assert set(states(runs.engine)) == set(changes)
    assert {name for name, run in done.items() if run.done} == {"late"}
    assert {done[name].why_not for name in changes} == {"it moved on meanwhile"}
    runs.engine.dispose()
