"""A table that a new Prefect brings needs its row in the catalogue, and no other change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import FLOW, clear, engine_for, name_of

from lab.environments import ROOT
from lab.postgres import Postgres

ENGINE = ROOT / "roles" / "prefect_maintenance" / "module_utils"
ROW = """
    Table(
        "task_run_note",
        age="created",
        entity=None,
        deleted_by="cascade",
        parents=(Reference("task_run_id", "task_run", enforced=True),),
    ),
"""
LAST = "\n    ARTIFACT_COLLECTION,\n)"
NOTES = """
CREATE TABLE task_run_note (
    id uuid PRIMARY KEY, created timestamptz DEFAULT now(),
    task_run_id uuid REFERENCES task_run ON DELETE CASCADE)
"""
OLD = "now() - interval '90 days'"
FILL = (
    f"INSERT INTO flow_run (id, name, flow_id, state_type, end_time) "
    f"VALUES ('{FLOW}', 'r', '{FLOW}', 'COMPLETED', {OLD})",
    f"INSERT INTO task_run (id, name, task_key, dynamic_key, flow_run_id, state_type, end_time) "
    f"SELECT gen_random_uuid(), 't', 't', n::text, CASE WHEN n = 1 THEN CAST('{FLOW}' AS uuid) END,"
    f" 'COMPLETED', {OLD} FROM generate_series(1, 2) n",
    "INSERT INTO task_run_note (id, task_run_id) "
    "SELECT gen_random_uuid(), t.id FROM task_run t, generate_series(1, 3)",
)
STEPS = """
import json, sys
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.privileges import missing_privileges
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS

asked = {"db_url": sys.argv[1], "run_delete_via": "sql"}

def step(name, check):
    outcome = STEPS[name](Settings.parse(asked, check=check), Pace())
    return {**outcome.answers, "error": str(outcome.error or "")}

with connect(sys.argv[1], 5) as database:
    every = ("measure", "purge", "delete", "vacuum")
    missing = missing_privileges(database, every, "public")
print(json.dumps({
    "missing": sorted(m.privilege for m in missing if m.on == "task_run_note"),
    "before": step("bloat_info", False)["tables"],
    "planned": step("delete", True)["deleted"],
    "deleted": step("delete", False)["deleted"],
    "error": step("vacuum", False)["error"],
}, default=str))
"""


@pytest.fixture
def engine_with_the_row(tmp_path: Path) -> Path:
    """A copy of the engine whose catalogue has one more row, and nothing else."""
    copy = tmp_path / "module_utils"
    shutil.copytree(ENGINE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    catalogue = copy / "prefect_maintenance" / "catalogue.py"
    text = catalogue.read_text()
    assert text.count(LAST) == 1
    catalogue.write_text(text.replace(LAST, f"\n    ARTIFACT_COLLECTION,{ROW})"))
    return copy


@pytest.fixture
def noted(database: str) -> Iterator[str]:
    """A database of a Prefect that keeps notes of task runs."""
    engine = engine_for(database)
    clear(engine)
    with engine.begin() as connection:
        for statement in (NOTES, *FILL):
            connection.execute(sa.text(statement))
    yield database
    engine.dispose()


def test_a_new_table_is_measured_planned_deleted_and_granted_by_its_row_alone(
    noted: str, engine_with_the_row: Path, cluster: Postgres
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, noted],
        env={**os.environ, "PYTHONPATH": str(engine_with_the_row)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    before = {table["name"]: table["rows"] for table in found["before"]}
    assert before["task_run_note"] == 6
    assert found["planned"]["task_run_note"] == 6
    assert found["deleted"]["task_run_note"] == 6
    assert not found["error"]
    assert {"DELETE", "SELECT"} <= set(found["missing"])
    left = cluster.execute("SELECT count(*) FROM task_run_note", name_of(noted))
    assert left == [(0,)]
