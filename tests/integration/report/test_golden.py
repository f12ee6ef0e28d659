"""What a run tells: its JSON report, its screen step by step, the artifact, all pinned by files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from golden import DIALECTS, KINDS, MODES, Golden, as_text, masked
from maintenance import engine_for, fill, request
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.report.markdown import markdown
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from world import TABLES

from lab import environments
from lab.postgres import Postgres
from lab.server import PrefectServer, migrate

PINNED = {"LAB_PREFECT": environments.NEWEST, "LAB_POSTGRES": environments.POSTGRES}
pytestmark = pytest.mark.skipif(
    any(os.environ.get(name, version) != version for name, version in PINNED.items()),
    reason="the files have what the newest versions tell",
)

# The proof that API and database belong together makes events, and the server writes them late.
NO_EVENTS = {"PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false"}
STRANGER = "CREATE TABLE somebody_elses (id integer)"
LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 5000)
SELECT {id}, 'l', 20, 'a line of some length, as logs have them', {at} FROM s
"""
REFUSED = "artifacts are kept for the audit"
REFUSE = {
    "postgresql": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{REFUSED}'; END $$",
        "CREATE TRIGGER refuse BEFORE DELETE ON artifact FOR EACH ROW EXECUTE FUNCTION refuse()",
    ),
    "sqlite": (
        "CREATE TRIGGER refuse BEFORE DELETE ON artifact "
        f"BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END",
    ),
}


def fill_to_be_rewritten(engine: sa.Engine) -> None:
    """Put a world there whose rows are always the same, and logs enough to be rewritten."""
    fill(engine, seed=4)
    postgresql = engine.dialect.name == "postgresql"
    number = "lpad(n::text, 12, '0')" if postgresql else "printf('%012d', n)"
    new_id = f"'00000000-0000-4000-8000-' || {number}"
    at = "'2026-05-01 00:00:00.000000'"
    if postgresql:
        new_id, at = f"CAST({new_id} AS uuid)", f"TIMESTAMPTZ {at[:-1]}+00'"
    with engine.begin() as connection:
        connection.exec_driver_sql(LOGS.format(id=new_id, at=at))
        connection.exec_driver_sql("ANALYZE")


# Where the tests run, the disk is another one each time.
DISK = {
    "host": "db1",
    "path": "/var/lib/postgresql",
    "df": "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
    "/dev/sdb 1048576000 1024 1048574976 1% /var/lib\n",
}


def carried_out(server: PrefectServer, mode: str) -> dict[str, str]:
    """Carry out the steps as the role does; returns what is to be read, by the kind of file."""
    asked = request(
        server,
        purge_strategy="rewrite" if mode == "failed" else "delete",
        run_delete_via="sql" if mode == "failed" else "api",
        vacuum_min_bytes=200_000,
        batch_size=50,
    )
    report: Mapping[str, Any] = {"host": "db1.example.org"}
    screen: list[str] = []
    for step in ("bloat_info", "purge", "delete", "vacuum"):
        more = {"growth_drivers": True, "disk": DISK} if step == "bloat_info" else {}
        settings = Settings.parse({**asked, **more, "report": report}, check=mode == "check")
        outcome = STEPS[step](settings, Pace())
        report = outcome.report.as_json()
        screen += [f"---------- {step}", *outcome.summary, ""]
        if outcome.error:
            screen += [f"fatal: {outcome.error}", ""]
            break
    told = (as_text(report), masked("\n".join(screen)), masked(markdown(report)))
    return dict(zip(KINDS, told, strict=True))


def everything(server: PrefectServer) -> dict[str, str]:
    """Check, do it, and do it once more where a table refuses to be cleared."""
    engine, found = engine_for(server.db_url), {}
    with engine.begin() as connection:
        connection.exec_driver_sql(STRANGER)
        for table in TABLES if engine.dialect.name == "postgresql" else ():
            # It would change sizes and estimates whenever it liked.
            connection.exec_driver_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    for mode in MODES:
        if mode != "real":
            fill_to_be_rewritten(engine)
        if mode == "failed":
            with engine.begin() as connection:
                for statement in REFUSE[engine.dialect.name]:
                    connection.exec_driver_sql(statement)
        for kind, text in carried_out(server, mode).items():
            found[f"{mode}/{kind}"] = text
    engine.dispose()
    return found


@contextmanager
def own_server(cluster: Postgres, dialect: str, folder: Path) -> Iterator[PrefectServer]:
    """Lend a server on a database that nothing else was ever in."""
    name = f"golden_{folder.name}"
    url = f"sqlite:///{folder / 'prefect.db'}"
    if dialect == "postgresql":
        url = cluster.create_database(name)
    try:
        migrate(url, environments.NEWEST)
        with PrefectServer(url, environment=NO_EVENTS) as server:
            yield server
    finally:
        if dialect == "postgresql":
            cluster.drop_database(name)


@pytest.fixture(scope="module", params=DIALECTS)
def told(
    request: pytest.FixtureRequest, cluster: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, str]]:
    """What all runs on a database tell, by the names of their files."""
    folder = tmp_path_factory.mktemp("golden")
    with own_server(cluster, request.param, folder) as server:
        return request.param, everything(server)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_what_a_run_tells_is_what_its_file_has(
    told: tuple[str, dict[str, str]], golden: Golden, mode: str, kind: str
) -> None:
    dialect, found = told
    golden.check(f"{dialect}/{mode}/{kind}", found[f"{mode}/{kind}"])
