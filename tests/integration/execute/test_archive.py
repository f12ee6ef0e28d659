"""Every row that goes is in the archive before it goes, and comes back as it was."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from archiving import add_logs, archived, ids_in, lacking, restored, world_in
from maintenance import FLOW, fill, request, run_step, wait_until
from paces import paced
from prefect_maintenance.events import Progress
from takers import fill_with_what_goes
from world import NOW, dump

from lab.server import PrefectServer

RUN = "55555555-5555-4555-8555-555555555555"


def set_state(engine: sa.Engine, state: str) -> None:
    with engine.begin() as connection:
        sql = "UPDATE flow_run SET state_type = :state WHERE id = :id"
        connection.execute(sa.text(sql), {"state": state, "id": RUN})


def test_everything_comes_back_as_it_was_and_a_second_time_nothing_changes(
    engine: sa.Engine, tmp_path: Path
) -> None:
    fill(engine, seed=11)
    before = dump(engine)
    rules = [{"name": "of no run", "flows": ["none*"], "keep": {"days": 1}}]
    report = archived(engine, tmp_path, rules=rules)
    assert report["archive"]["rows"] >= sum(report["deleted"].values()) > 100
    foretold, would = restored(engine, tmp_path, check=True)
    assert would
    assert len(lacking(before, engine)) >= 8
    done, changed = restored(engine, tmp_path)
    assert changed
    assert done == foretold
    assert lacking(before, engine) == {}
    again, changed = restored(engine, tmp_path)
    assert not changed
    assert not any(again["restored"].values())


def test_every_kind_of_value_comes_back_as_it_was(database: str, tmp_path: Path) -> None:
    with world_in(database, seed=3, size=1) as engine:
        add_logs(engine, 1)
        told = 'a\tb\nc\\d"e\\N\x1b[31m\x0b\r\x08\x0c\x01 ä€😀 \\v \\\\v {} ,"\\N",'
        with engine.begin() as connection:
            for text in (told, "\\N", "", "null", "\\", '"'):
                sql = (
                    "INSERT INTO log (id, name, level, message, timestamp) VALUES "
                    "(gen_random_uuid(), :text, 20, :text, '-infinity')"
                )
                connection.execute(sa.text(sql), {"text": text})
            for value in ("null", '"null"', '{"a": 1.50, "b": [null, "\\\\N\\t"]}', "1e400", None):
                sql = (
                    "INSERT INTO artifact (id, key, type, data, metadata_, created) VALUES "
                    "(gen_random_uuid(), 'k', 't', CAST(:data AS json), NULL, "
                    "'0044-03-15 00:00:00.000001 BC')"
                )
                connection.execute(sa.text(sql), {"data": value})
        texts = "SELECT CAST(x AS text) FROM {} x ORDER BY 1"
        tables = ("log", "artifact")

        def shown() -> list[list[Any]]:
            with engine.connect() as connection:
                return [
                    [row[0] for row in connection.execute(sa.text(texts.format(table)))]
                    for table in tables
                ]

        before = shown()
        report = archived(engine, tmp_path)
        assert report["deleted"]["log"] >= 7
        assert report["deleted"]["artifact"] >= 5
        restored(engine, tmp_path)
        assert shown() == before


def test_a_rewrite_archives_what_it_leaves_out_whatever_changes_meanwhile(
    database: str, tmp_path: Path
) -> None:
    with world_in(database) as engine:
        add_logs(engine, 300)
        with engine.begin() as connection:
            sql = (
                "INSERT INTO flow_run (id, name, flow_id, state_type, end_time) "
                "VALUES (:id, 'r', :flow, 'COMPLETED', now())"
            )
            connection.execute(sa.text(sql), {"id": RUN, "flow": FLOW})
        add_logs(engine, 20, RUN)
        before = dump(engine)
        stages: list[str] = []

        def show(progress: Progress) -> None:
            """Retry the run after the copy; end it again, and add old logs, after the archive."""
            if progress.table != "log" or progress.unit in stages:
                return
            stages.append(progress.unit)
            if progress.unit == "indexes":
                set_state(engine, "RUNNING")
            if progress.unit == "rows archived":
                set_state(engine, "COMPLETED")
                add_logs(engine, 7)

        report = archived(engine, tmp_path, pace=paced(show), purge_strategy="rewrite")
        assert stages[-1] == "rows archived" or "rows archived" in stages
        log = next(table for table in report["tables"] if table["name"] == "log")
        assert log["ways"]["rewrite"] >= 327
        archive = ids_in(tmp_path, "log")
        there = set(dump(engine, ["log"])["log"])
        assert set(before["log"]) <= there | archive
        assert len(archive - set(before["log"])) == 7
        restored(engine, tmp_path)
        del before["flow_run"][RUN]
        assert lacking(before, engine) == {}


def test_what_the_api_deletes_is_archived_before_the_call(
    shared_server: PrefectServer, tmp_path: Path
) -> None:
    with world_in(shared_server.db_url) as engine:
        fill_with_what_goes(engine)
        before = dump(engine)
        asked = request(shared_server, run_delete_via="api", archive_dir=str(tmp_path))
        report = run_step("delete", {**asked, "batch_size": 5}).report
        assert report.delete_via["way"] == "mixed"

        def logs() -> set[str]:
            return set(dump(engine, ["log"])["log"])

        gone = set(before["log"]) - ids_in(tmp_path, "log")
        wait_until(lambda: logs() <= gone, otherwise="the server has not deleted the logs")
        restored(shared_server, tmp_path)
        left = lacking(before, engine)
        # The server may delete logs of runs that it was told to delete at any later time.
        assert left.pop("log", set()) <= ids_in(tmp_path, "log")
        assert left == {}


def test_a_day_is_removed_after_its_time_and_nothing_else(database: str, tmp_path: Path) -> None:
    with world_in(database) as engine:
        first = archived(engine, tmp_path)["archive"]
        home = Path(first["folder"]).parent
        other = home / "20200101T000000Z"
        other.mkdir()
        (other / "notes.txt").touch()
        (Path(first["folder"]) / "mine.txt").touch()
        manifest = Path(first["folder"]) / "manifest.json"
        (manifest.parent / ".manifest.json.new").write_text("{")
        told = json.loads(manifest.read_text())
        made = NOW - timedelta(days=9, minutes=1)
        manifest.write_text(json.dumps({**told, "made": made.isoformat()}))
        asked = request(database, archive_dir=str(tmp_path))
        assert not run_step("purge", {**asked, "archive_days": 10}, check=True).changed
        asked["archive_days"] = 9
        checked = run_step("purge", asked, check=True)
        assert checked.changed
        assert checked.report.archive["removed"] == 1
        assert manifest.exists()
        done = run_step("purge", asked)
        assert done.changed
        assert done.report.archive["removed"] == 1
        assert set(home.iterdir()) == {other, Path(first["folder"])}
        assert [left.name for left in Path(first["folder"]).iterdir()] == ["mine.txt"]
        assert not run_step("purge", asked).changed


def test_a_database_without_an_archive_is_deleted_from_as_before(filled: str) -> None:
    report = run_step("purge", request(filled)).report
    assert "archive" not in report.as_json()
