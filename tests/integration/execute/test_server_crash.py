"""A server that crashes while rows are deleted, whose last commits were not on the disk yet."""

from __future__ import annotations

from typing import Any

from prefect_maintenance.errors import ConnectionFailed
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from rewriting import ROWS, fill_logs, ids, purge
from statements import heard

from lab.postgres import Postgres
from lab.server import migrate


def test_what_a_crash_brings_back_goes_with_the_next_run() -> None:
    with Postgres() as cluster:
        database = cluster.create_database("crashed")
        migrate(database)
        young = fill_logs(cluster, database, ROWS)
        begun: list[str] = []

        def crash(_: Any, statement: str, __: Any) -> None:
            if statement.startswith("DELETE FROM log"):
                begun.append(statement)
                if len(begun) == 5:
                    cluster.stop("immediate")

        asked = {"db_url": database, "purge_strategy": "delete", "batch_size": ROWS // 20}
        with heard(crash):
            outcome = STEPS["purge"](Settings.parse(asked, check=False), Pace())
        assert isinstance(outcome.error, ConnectionFailed)
        cluster.start()
        assert young < set(ids(cluster, database))
        assert purge(database, purge_strategy="delete").error is None
        assert set(ids(cluster, database)) == young
