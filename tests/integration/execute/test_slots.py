"""The slots that a stuck run holds are free for others once it is ended."""

from __future__ import annotations

import sqlalchemy as sa
from maintenance import clear, engine_for, request, run_step, wait_until
from prefect_maintenance.request.settings import Api
from prefect_maintenance.server.api import open_api
from unfinished import STUCK

from lab.server import PrefectServer


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
