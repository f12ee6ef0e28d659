"""The instant of a rewrite's swap: what was written until then is there, and nobody queues."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from maintenance import name_of
from rewriting import ROWS, at_the_swap, debris, doing, ids, purge, reader, readers_pass, strategy

from lab.postgres import Postgres

WRITTEN = (
    "INSERT INTO log (id, name, level, message, timestamp) "
    "SELECT gen_random_uuid(), 'written late', 20, 'm', now() FROM generate_series(1, 7)"
)


def test_rows_that_are_written_right_before_the_lock_of_the_swap_are_there(
    cluster: Postgres, database: str, young: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_swap(monkeypatch, doing(cluster, database, WRITTEN))
    outcome = purge(database)
    late = "SELECT count(*) FROM log WHERE name = 'written late'"
    assert strategy(outcome) == "rewrite"
    assert cluster.execute(late, name_of(database)) == [(7,)]
    assert young < set(ids(cluster, database))
    assert outcome.report.deleted["log"] == ROWS - len(young)


def test_readers_pass_a_swap_that_waits_and_it_happens_when_the_holder_goes(
    cluster: Postgres, database: str, young: set[str]
) -> None:
    ended: list[Any] = []
    job = threading.Thread(target=lambda: ended.append(purge(database, lock_timeout=60)))
    with reader(cluster, database):
        job.start()
        readers_pass(cluster, database)
        assert not ended
    job.join()
    assert (strategy(ended[0]), ended[0].report.warnings) == ("rewrite", ())
    assert set(ids(cluster, database)) == young
    assert debris(cluster, database) == []
