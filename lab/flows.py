"""Real flow runs against a real server; run with the server's own interpreter.

Every state a maintenance has to tell apart: completed, failed, cancelled, crashed, and runs that
nobody works on any more. Some belong to deployments, some have subflows, artifacts, and logs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Crashed, Pending, Running

LINES = 50


@task
def extract(lines: int = LINES) -> int:
    """Log some lines."""
    for line in range(lines):
        get_run_logger().info("row %d of the nightly extract was read and checked", line)
    return lines


@task
def load(rows: int) -> None:
    """Leave an artifact whose key every run shares."""
    create_markdown_artifact(key="nightly-load", markdown=f"loaded {rows} rows")


@flow(name="verify")
def verify(rows: int) -> None:
    """Work inside of a flow inside of a flow."""
    extract(rows // 10)


@flow(name="child")
def child(lines: int) -> None:
    """Work inside of another flow."""
    verify(extract(lines))


@flow(name="etl")
def etl() -> None:
    """Complete, with subflows and an artifact."""
    rows = extract()
    child(rows)
    load(rows)


@flow(name="ingest")
def ingest() -> None:
    """Complete, as most runs do."""
    extract()


@flow(name="fragile")
def fragile() -> None:
    """Fail."""
    extract()
    raise ValueError("the source was not there")


@flow(name="stopped")
def stopped(state: str) -> object:
    """End in a state that only a person or an accident brings about."""
    extract()
    return Cancelled() if state == "CANCELLED" else Crashed()


def main(rounds: int) -> None:
    """Run everything a few times."""
    # First, because a task outside of flows is taken for one of the process's latest flow run.
    for _ in range(rounds):
        extract()
    attempts: list[Callable[[], object]] = []
    with get_client(sync_client=True) as client:
        hourly = client.create_deployment(client.create_flow(ingest), name="hourly")
        nightly = client.create_deployment(client.create_flow(etl), name="nightly")
        for _ in range(rounds):
            for deployment, deployed in [(nightly, etl)] + [(hourly, ingest)] * 6:
                run = client.create_flow_run_from_deployment(deployment)
                attempts.append(partial(run_flow, deployed, flow_run=run, return_type="state"))
            attempts.append(partial(fragile, return_state=True))
            attempts += [partial(stopped, s, return_state=True) for s in ("CANCELLED", "CRASHED")]
        client.create_flow_run_from_deployment(hourly)
        client.create_flow_run(ingest, state=Pending())
        client.create_flow_run(ingest, state=Running())
    # At its end, each flow waits for its heartbeat: about a second in which others can run.
    with ThreadPoolExecutor(4) as pool:
        for attempt in [pool.submit(attempt) for attempt in attempts]:
            attempt.result()


if __name__ == "__main__":
    logging.getLogger("prefect").setLevel(logging.INFO)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
