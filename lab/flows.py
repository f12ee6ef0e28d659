"""Real flow runs against a real server; run with the server's own interpreter.

Every state a maintenance has to tell apart: completed, failed, cancelled, crashed, and a run
that claims to be running although nobody works on it. Some have subflows, artifacts, and logs.
"""

from __future__ import annotations

import contextlib
import logging
import sys

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Crashed, Running


@task
def extract(lines: int) -> int:
    """Log some lines."""
    for line in range(lines):
        get_run_logger().info("row %d of the nightly extract was read and checked", line)
    return lines


@task
def load(rows: int) -> None:
    """Leave an artifact whose key every run shares."""
    create_markdown_artifact(key="nightly-load", markdown=f"loaded {rows} rows")


@flow(name="child")
def child(lines: int) -> None:
    """Work inside of another flow."""
    extract(lines)


@flow(name="etl")
def etl(lines: int = 8) -> None:
    """Complete, with a subflow and an artifact."""
    rows = extract(lines)
    child(lines)
    load(rows)


@flow(name="fragile")
def fragile() -> None:
    """Fail."""
    extract(4)
    raise ValueError("the source was not there")


@flow(name="stopped")
def stopped(state: str) -> object:
    """End in a state that only a person or an accident brings about."""
    extract(2)
    return Cancelled() if state == "CANCELLED" else Crashed()


def main(rounds: int) -> None:
    """Run everything a few times."""
    for _ in range(rounds):
        etl()
        # A run that does not complete raises its state; that it failed is what we want.
        with contextlib.suppress(Exception):
            fragile()
        for state in ("CANCELLED", "CRASHED"):
            with contextlib.suppress(Exception):
                stopped(state)
    with get_client(sync_client=True) as client:
        client.create_flow_run(etl, state=Running())


if __name__ == "__main__":
    logging.getLogger("prefect").setLevel(logging.INFO)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
