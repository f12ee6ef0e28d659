"""The bytes that a check says would come back come back, within a fifth."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import FLOW, clear, engine_for, run_step

from benchmarks.backlog import Size
from benchmarks.backlog import fill as fill_as_the_benchmark
from lab.postgres import Postgres

STEPS = ("bloat_info", "purge", "delete", "vacuum")
FIFTH, LARGE = 0.2, 2**20
SIZE = Size(logs=40_000, events=8_000, runs=1_500)
SQLITE_ID = "lower(substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-4' || substr(h, 13, 3) || '-8' "
SQLITE_ID += "|| substr(h, 16, 3) || '-' || substr(h, 19, 12))"
SQLITE = (
    """
INSERT INTO flow_run (id, name, flow_id, state_type, state_name, state_timestamp, start_time,
                      end_time, expected_start_time)
SELECT {id}, 'run-' || n, :flow, 'COMPLETED', 'Completed', at, at, at, at FROM s WHERE n <= 1500
""",
    """
INSERT INTO log (id, name, level, message, timestamp)
SELECT {id}, 'prefect.flow_runs', 20, 'Finished in state Completed after extract ' || n, at
FROM s WHERE n <= 20000
""",
    """
INSERT INTO events (id, occurred, event, resource_id, resource, related, related_resource_ids,
                    payload, received, recorded)
SELECT {id}, at, 'prefect.flow-run.Completed', 'prefect.flow-run.' || n, '{{}}', '[]', '[]',
       '{{"text": "' || printf('%.*c', 600, 'x') || '"}}', at, at
FROM s WHERE n <= 6000
""",
)
NUMBERS = """
CREATE TEMPORARY TABLE s AS WITH RECURSIVE c(n) AS
    (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000)
SELECT n, hex(randomblob(16)) AS h,
       strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || (180 - 180.0 * n / {rows}) || ' days') AS at
FROM c
"""


@pytest.fixture(scope="module")
def backlog(cluster: Postgres, template: str) -> Iterator[str]:
    """The name of a database with the benchmark's data, to be copied."""
    cluster.create_database("backlog", template)
    fill_as_the_benchmark(cluster, "backlog", SIZE)
    yield "backlog"
    cluster.drop_database("backlog")


@pytest.fixture(scope="module")
def sqlite_backlog(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with as many days of runs, logs and events."""
    path = tmp_path_factory.mktemp("backlog") / "prefect.db"
    shutil.copy(migrated_file, path)
    engine = engine_for(f"sqlite:///{path}")
    clear(engine)
    for statement, rows in zip(SQLITE, (1500, 20000, 6000), strict=True):
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS temp.s")
            connection.exec_driver_sql(NUMBERS.format(rows=rows))
            connection.execute(sa.text(statement.format(id=SQLITE_ID)), {"flow": FLOW})
    engine.dispose()
    return path


def run(url: str, *, check: bool, **asked: Any) -> dict[str, Any]:
    """Carry out all steps; returns the report."""
    report: dict[str, Any] = {"reference_time": datetime.now(UTC).isoformat()}
    for step in STEPS:
        request = {"db_url": url, "run_delete_via": "sql", **asked, "report": report}
        report = run_step(step, request, check=check).report.as_json()
    return report


def compare(url: str, **asked: Any) -> dict[str, Any]:
    """Compare the estimates of a check, and of the run after it, with what that run measured."""
    checked, done = (run(url, check=check, **asked) for check in (True, False))
    assert checked["measured"] == {}
    for report in (checked, done):
        estimate = report["estimate"]["bytes_back"]
        assert estimate == pytest.approx(done["measured"]["bytes_back"], rel=FIFTH), report["host"]
        assert report["estimate"]["seconds"] > 0
        assert_reasons(report["plan"])
    before = done["database"]["bytes_before"]
    assert done["measured"]["bytes_back"] == before - done["database"]["bytes_after"]
    estimated = {table["name"]: table["estimate"] for table in checked["tables"]}
    for table in done["tables"]:
        back = table["bytes_before"] - table["bytes_after"]
        expected = estimated[table["name"]].get("bytes_back", 0)
        if max(back, expected) > LARGE:
            assert expected == pytest.approx(back, rel=FIFTH), table["name"]
    return done


def assert_reasons(plan: Mapping[str, Any]) -> None:
    """Assert that each row that goes has one reason."""
    rows: dict[str, int] = {}
    for reason in plan["reasons"]:
        rows[reason["what"]] = rows.get(reason["what"], 0) + reason["rows"]
    assert rows == {table: count for table, count in plan["rows"].items() if count}


@pytest.mark.parametrize(
    ("days", "asked", "reclaimed"),
    [
        (15, {}, {"plain", "full"}),
        (15, {"purge_strategy": "delete"}, {"plain", "full", "rewrite"}),
        (120, {"purge_strategy": "delete", "vacuum": "full"}, {"plain", "full"}),
        (15, {"purge_strategy": "delete", "vacuum": "plain"}, {"plain"}),
    ],
    ids=["rewritten", "deleted and rewritten", "a third goes", "only vacuumed"],
)
def test_bytes_come_back_as_estimated_on_postgresql(
    cluster: Postgres, backlog: str, days: int, asked: Mapping[str, Any], reclaimed: set[str]
) -> None:
    url = cluster.create_database("estimated", backlog)
    try:
        asked = {"retention_days": days, "vacuum_min_bytes": LARGE, **asked}
        if asked.get("vacuum") == "plain":
            check = run(url, check=True, **asked)
            assert check["estimate"]["bytes_back"] == 0
            done = run(url, check=False, **asked)
            assert abs(done["measured"]["bytes_back"]) < LARGE
        else:
            done = compare(url, **asked)
            assert done["measured"]["bytes_back"] > 5 * LARGE
        assert {table["reclaim"] for table in done["tables"]} == reclaimed
        assert done["measured"]["wal_bytes"] > LARGE
    finally:
        cluster.drop_database("estimated")


def test_what_a_vacuum_cuts_off_the_end_of_a_table_is_estimated(
    cluster: Postgres, backlog: str
) -> None:
    url = cluster.create_database("estimated", backlog)
    try:
        # Autovacuum must not cut the end off before it is measured.
        for table in ("log", "events"):
            cluster.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)", "estimated")
        # All events go; of the logs, those of the newest runs are at the end.
        cluster.execute("UPDATE events SET occurred = occurred - interval '1 year'", "estimated")
        asked = {"retention_days": 365, "purge_strategy": "delete", "vacuum": "plain"}
        ended = "(SELECT percentile_disc(0.7) WITHIN GROUP (ORDER BY timestamp) FROM log)"
        cluster.execute(f"DELETE FROM log WHERE timestamp > {ended}", "estimated")
        cluster.execute("ANALYZE", "estimated")
        done = compare(url, **{**asked, "retention": {"events": 180}})
        back = {t["name"]: t["bytes_before"] - t["bytes_after"] for t in done["tables"]}
        assert min(back["log"], back["events"]) > LARGE
    finally:
        cluster.drop_database("estimated")


@pytest.mark.parametrize("days", [15, 120])
def test_bytes_come_back_as_estimated_on_sqlite(
    sqlite_backlog: Path, tmp_path: Path, days: int
) -> None:
    path = tmp_path / "prefect.db"
    shutil.copy(sqlite_backlog, path)
    done = compare(f"sqlite:///{path}", retention_days=days, vacuum_min_bytes=LARGE)
    assert done["database"]["reclaim"] == "full"
    assert done["measured"]["seconds"] > sum(table["seconds"] for table in done["tables"])
    assert done["started"] < done["finished"]


@pytest.mark.parametrize(("mode", "reclaimed"), [("auto", "full"), ("plain", "plain")])
def test_the_write_ahead_log_of_an_sqlite_file_comes_back_as_estimated(
    sqlite_backlog: Path, tmp_path: Path, mode: str, reclaimed: str
) -> None:
    path = tmp_path / "prefect.db"
    shutil.copy(sqlite_backlog, path)
    engine = engine_for(f"sqlite:///{path}")
    with engine.connect() as server:
        server.exec_driver_sql("PRAGMA journal_mode = WAL")
        server.exec_driver_sql("UPDATE log SET message = message || '.', name = name || '.'")
        server.commit()
        log = path.with_name("prefect.db-wal").stat().st_size
        assert log > 2 * LARGE
        done = compare(f"sqlite:///{path}", retention_days=15, vacuum_min_bytes=LARGE, vacuum=mode)
    engine.dispose()
    assert done["database"]["reclaim"] == reclaimed
    assert done["measured"]["bytes_back"] > 0.9 * log
