"""What the file for Prometheus says after each step of real runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from maintenance import engine_for, fill, request
from prefect_maintenance.run.line import LINE, Answer, carry_out, privileges_for
from prefect_maintenance.run.textfile import NAME

HOST = "prefect-1"
OLD_LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, 'm', '2026-01-01' FROM generate_series(1, 20000)
"""
LAST_SUCCESS = f'last_success_timestamp_seconds{{host="{HOST}"}}'


def told(folder: Path) -> dict[str, float]:
    """Return the values by series, without their prefix."""
    lines = (folder / NAME).read_text().splitlines()
    found = [x.rpartition(" ") for x in lines if not x.startswith("#")]
    return {x.removeprefix("prefect_maintenance_"): float(value) for x, _, value in found}


def status(folder: Path) -> str:
    said = told(folder)
    (name,) = [x for x in said if x.startswith("last_run_status") and said[x]]
    return name.split('"')[3]


def of(name: str, table: str) -> str:
    return f'{name}{{host="{HOST}",table="{table}"}}'


def steps(
    engine: sa.Engine, folder: Path, *, check: bool = False, **more: Any
) -> Iterator[tuple[str, Answer]]:
    """Carry out a run's steps as the doors do, up to one that fails."""
    asked = request(engine, run_delete_via="sql", textfile_dir=str(folder), **more)
    report: dict[str, Any] = {"host": HOST}
    for step in LINE:
        given = {"before": privileges_for("auto")} if step == "bloat_info" else {}
        done = carry_out(step, {**asked, **given, "report": report}, check=check)
        report = done.report
        yield step, done
        if done.failure:
            return


def test_between_two_steps_the_file_says_what_is_true_if_the_run_is_lost(
    engine: sa.Engine, tmp_path: Path
) -> None:
    fill(engine, seed=11)
    seen = {}
    for step, done in steps(engine, tmp_path):
        assert done.failure is None
        seen[step] = (status(tmp_path), LAST_SUCCESS in told(tmp_path), told(tmp_path))
        assert done.warnings == ()
    assert {step: one[:2] for step, one in seen.items()} == {
        "bloat_info": ("failed", False),
        "purge": ("partial", False),
        "delete": ("partial", False),
        "vacuum": ("ok", True),
    }
    before, after = seen["bloat_info"][2], seen["vacuum"][2]
    assert before[of("table_overdue_seconds", "log")] > 0
    assert {value for name, value in after.items() if name.startswith("table_overdue")} == {0}
    deleted = done.report["deleted"]
    assert deleted["log"] > 0
    for table, rows in deleted.items():
        assert after[of("last_run_deleted_rows", table)] == rows
    for table in done.report["tables"]:
        assert after[of("table_bytes", table["name"])] == table["bytes_after"]
    kept = [value for name, value in after.items() if name.startswith("last_run_kept_rows")]
    assert sum(kept) == sum(one["rows"] for one in done.report["kept"])
    assert not any('reason="other"' in name for name in after)
    waited = after[f'last_run_waited_seconds{{host="{HOST}",kind="single_writer"}}']
    assert waited == done.report["waited"].get("single_writer", 0)
    assert (waited > 0) == (engine.dialect.name == "sqlite")

    again = [done.changed for _, done in steps(engine, tmp_path)]
    assert again == [False] * len(LINE)
    assert status(tmp_path) == "ok"
    assert told(tmp_path)[of("last_run_deleted_rows", "log")] == 0
    assert told(tmp_path)[LAST_SUCCESS] >= after[LAST_SUCCESS]


def test_a_check_writes_nothing_and_a_measurement_alone_nothing_of_a_run(
    engine: sa.Engine, tmp_path: Path
) -> None:
    fill(engine, seed=11)
    for _ in steps(engine, tmp_path, check=True):
        assert list(tmp_path.glob("*.prom")) == []
    alone = request(engine, textfile_dir=str(tmp_path), report={"host": HOST})
    carry_out("bloat_info", alone, check=False)
    said = told(tmp_path)
    assert said[of("table_rows", "log")] > 0
    assert not any(name.startswith("last_") for name in said)


def test_a_failure_keeps_the_last_success_and_names_the_table(
    database: str, tmp_path: Path
) -> None:
    engine = engine_for(database)
    fill(engine, seed=11)
    assert [done.failure for _, done in steps(engine, tmp_path)] == [None] * len(LINE)
    success = told(tmp_path)[LAST_SUCCESS]
    with engine.begin() as connection:
        connection.execute(sa.text(OLD_LOGS))
    hard: dict[str, Any] = {"purge_strategy": "delete", "vacuum": "full", "vacuum_min_bytes": 0}
    with held(engine, "log"):
        *_, (step, done) = steps(engine, tmp_path, **hard, lock_timeout=0.5)
    assert (step, bool(done.failure)) == ("vacuum", True)
    said = told(tmp_path)
    assert said[LAST_SUCCESS] == success
    assert status(tmp_path) == done.report["status"]
    assert said[of("last_run_table_failed", "log")] == 1
    assert said[of("last_run_table_failed", "events")] == 0
    assert said[f'last_run_waited_seconds{{host="{HOST}",kind="lock"}}'] > 0


@contextmanager
def held(engine: sa.Engine, table: str) -> Iterator[None]:
    """Read a table in a transaction until the end of the block."""
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.text(f"SELECT count(*) FROM {table}"))
        yield


def test_a_run_that_cannot_reach_its_database_is_told_as_failed(tmp_path: Path) -> None:
    url = "postgresql://prefect:s3cret@127.0.0.1:1/none"
    asked = {"db_url": url, "textfile_dir": str(tmp_path), "report": {"host": HOST}}
    done = carry_out("bloat_info", {**asked, "before": ["purge"]}, check=False)
    assert done.failure is not None
    assert status(tmp_path) == "failed"
    assert "s3cret" not in (tmp_path / NAME).read_text()
