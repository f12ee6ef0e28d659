"""An archive says of each row which rule let it go, and gives back what one rule let go."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from archiving import archived, lacking, restored
from maintenance import fill, refused, request, run_step
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.execute import restore_files
from prefect_maintenance.execute.archive_lines import WENT_BY
from world import dump

FAILED = ("FAILED", "CRASHED")
RULES: dict[str, Any] = {
    "rules": [
        {"name": "no such", "flows": ["none*"], "keep": {"days": 1}},
        {"name": "it's failed", "states": list(FAILED), "keep": {"days": 1}, "logs": {"days": 1}},
    ],
    "log_rules": [{"name": "chatty", "below": "INFO", "keep": {"days": 1}}],
    "event_rules": [{"name": "beats", "events": ["heart*"], "keep": {"days": 1}}],
}
_HALF = "WHERE CAST(id AS VARCHAR) < '8'"


def went_by(folder: Path, table: str) -> dict[str, str | None]:
    """Return what lines of a table name as the rule of a row, by its id.

    Logs that go with their run stand in a file that names none.
    """
    return {
        row[entry.columns.index("id")]: row[entry.names.index(WENT_BY)]
        for path, entry, _ in restore_files.files_of(restore_files.find(folder), table)
        for row in restore_files.rows_in(path, entry)
        if entry.by_rule is not None
    }


@pytest.mark.parametrize("strategy", ["delete", "rewrite"])
def test_each_row_names_its_rule_and_the_rows_of_a_rule_come_back(
    engine: sa.Engine, tmp_path: Path, strategy: str
) -> None:
    fill(engine, seed=11)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE log SET level = 10 {_HALF}"))
        connection.execute(sa.text(f"UPDATE events SET event = 'heartbeat' {_HALF}"))
    before = dump(engine)
    archived(engine, tmp_path, purge_strategy=strategy, **RULES)

    runs, logs, events = (went_by(tmp_path, table) for table in ("flow_run", "log", "events"))
    failed = {key for key in runs if before["flow_run"][key]["state_type"] in FAILED}
    assert failed
    assert {key for key, by in runs.items() if by == "run rule 2"} == failed
    assert {runs[key] for key in set(runs) - failed} == {"the general policy"}
    chatty = {key for key, by in logs.items() if by == "log rule 1"}
    assert chatty
    assert {before["log"][key]["level"] for key in chatty} == {10}
    by_run = {before["log"][key]["flow_run_id"] for key, by in logs.items() if by == "run rule 2"}
    assert all(before["flow_run"][str(run)]["state_type"] in FAILED for run in by_run if run)
    beats = {key for key, by in events.items() if by == "event rule 1"}
    assert beats == {key for key in events if before["events"][key]["event"] == "heartbeat"}

    manifests = restore_files.find(tmp_path)
    for table, named in (("flow_run", runs), ("log", logs), ("events", events)):
        counted: Counter[str] = Counter()
        for _, entry, _ in restore_files.files_of(manifests, table):
            counted.update(entry.by_rule or {})
        assert counted == Counter(by for by in named.values() if by)

    refused("restore", request(engine, None, archive=str(tmp_path), rule="nightly"),
            SettingsError, "'nightly'", "beats, chatty, it's failed, no such")  # fmt: skip
    done, _ = restored(engine, tmp_path, rule="chatty")
    assert {table: rows for table, rows in done["restored"].items() if rows} == {"log": len(chatty)}
    restored(engine, tmp_path, rule="beats")
    after = dump(engine)
    assert beats <= set(after["events"])
    assert not set(after["flow_run"]) & failed
    restored(engine, tmp_path, rule="it's failed")
    assert failed <= set(dump(engine)["flow_run"])

    one = min(failed)
    asked = request(engine, None, archive=str(tmp_path), flow_run=one)
    assert f"flow run {one} went by it's failed" in run_step("restore", asked).summary


def test_an_archive_of_the_form_before_rules_comes_back(engine: sa.Engine, tmp_path: Path) -> None:
    fill(engine, seed=11)
    before = dump(engine)
    archived(engine, tmp_path)
    for manifest in tmp_path.rglob("manifest.json"):
        told = json.loads(manifest.read_text())
        for entry in told["files"]:
            assert entry.pop("by_rule") is None
        manifest.write_text(json.dumps({**told, "form": 1}))
    restored(engine, tmp_path)
    assert lacking(before, engine) == {}
