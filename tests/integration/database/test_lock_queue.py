"""Nobody queues behind a maintenance that waits for a strong lock."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, run_step, table
from prefect_maintenance.errors import StepFailed
from prefect_maintenance.execute import compact_rows, rewrite
from rewriting import reader, readers_pass, session
from statements import heard

from lab.postgres import Postgres

BLOATED = (
    "INSERT INTO log (id, name, level, message, timestamp) "
    "SELECT gen_random_uuid(), 'l', 20, repeat('m', 200), now() FROM generate_series(1, 20000) n",
    "DELETE FROM log WHERE id > '10000000-0000-4000-8000-000000000000'",
)


def full(url: str, **more: Any) -> dict[str, Any]:
    asked = {"vacuum": "full", "vacuum_min_bytes": 0, "vacuum_min_percent": 1}
    return {"db_url": url, **asked, **more}


@pytest.fixture
def bloated(database: str) -> str:
    """A database whose logs are mostly holes."""
    engine = engine_for(database)
    clear(engine)
    for sql in BLOATED:
        with engine.begin() as connection:
            connection.execute(sa.text(sql))
    return database


def test_readers_pass_a_vacuum_full_that_waits_and_it_happens_when_the_holder_goes(
    cluster: Postgres, bloated: str
) -> None:
    ended: list[Any] = []
    job = threading.Thread(
        target=lambda: ended.append(run_step("vacuum", full(bloated, lock_timeout=60)))
    )
    with reader(cluster, bloated):
        job.start()
        readers_pass(cluster, bloated)
        assert not ended
    job.join()
    log = table(ended[0])
    assert (log.reclaim, ended[0].changed) == ("full", True)
    assert (log.bytes_after or 0) < (log.bytes_after_delete or 0) / 2


def test_a_vacuum_full_that_gets_no_lock_says_who_holds_it_and_keeps_its_patience(
    cluster: Postgres, bloated: str
) -> None:
    with reader(cluster, bloated), pytest.raises(StepFailed) as failed:
        run_step("vacuum", full(bloated, lock_timeout=0.3))
    assert "log could not be had in 0.3 s: held by a long report as postgres" in str(failed.value)
    assert run_step("vacuum", full(bloated)).changed


@pytest.mark.parametrize(
    ("way", "module", "name"),
    [("rewrite", rewrite, "_replaced"), ("compact", compact_rows, "_emptied")],
    ids=["rewrite", "compact"],
)
def test_whoever_builds_an_index_need_not_wait_for_us_to_wait_for_him(
    cluster: Postgres,
    bloated: str,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    module: ModuleType,
    name: str,
) -> None:
    # He has such a lock, and waits for every transaction that he finds with a snapshot.
    work = getattr(module, name)
    told: list[str] = []
    with ExitStack() as building:

        def after_him(*arguments: Any) -> Any:
            if not told:
                begun = building.enter_context(session(cluster, bloated))
                begun.execute("LOCK TABLE log IN SHARE UPDATE EXCLUSIVE MODE")
                told.append("he began")
            return work(*arguments)

        def note(_: object, statement: str, __: object) -> None:
            if told and statement.startswith(("BEGIN", "LOCK TABLE")) and told.count("LOCK") < 2:
                told.append(statement.split()[0])
                if told.count("LOCK") == 2:
                    building.close()

        monkeypatch.setattr(module, name, after_him)
        with heard(note):
            outcome = run_step("vacuum", {**full(bloated), "vacuum": way})
    assert told == ["he began", "BEGIN", "LOCK", "BEGIN", "LOCK"]
    assert table(outcome).reclaim == way
