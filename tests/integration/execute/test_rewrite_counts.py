"""A rewrite says exactly how many rows left, whatever others write while it is at work."""

from __future__ import annotations

from typing import Any

import pytest
from maintenance import at_first_batch, name_of
from prefect_maintenance.database.connection import Database
from prefect_maintenance.errors import Cancelled, MaintenanceError, Stopped
from prefect_maintenance.execute import copy, crew
from prefect_maintenance.pace.signals import Signals
from rewriting import at_the_swap, debris, ids, purge, session, strategy

from lab.postgres import Postgres

pytestmark = pytest.mark.usefixtures("small_pieces")

# Old rows come and go, and some are changed: by one more row, then again by one more.
OTHERS = (
    "INSERT INTO log (id, name, level, message, timestamp) SELECT gen_random_uuid(), 'other', 20, "
    "'m', now() - n * interval '30 days' FROM generate_series(0, 3) n",
    "UPDATE log SET id = gen_random_uuid(), level = 30 WHERE name = 'other'",
    "DELETE FROM log WHERE id IN (SELECT id FROM log WHERE name = 'l' LIMIT 3)",
)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_left_is_counted_exactly_whatever_others_write_meanwhile(
    cluster: Postgres, database: str, young: set[str], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, moments = name_of(database), 0
    settings = f"max_parallel_maintenance_workers = {workers}"
    cluster.execute(f'ALTER DATABASE "{name}" SET {settings}')
    before = len(ids(cluster, database))

    def others() -> None:
        nonlocal moments
        moments += 1
        for sql in OTHERS:
            cluster.execute(sql, name)

    def preceded(module: Any, what: str) -> None:
        really, done = getattr(module, what), False

        def acting(*given: Any) -> Any:
            nonlocal done
            if not done:
                done = True
                others()
            return really(*given)

        monkeypatch.setattr(module, what, acting)

    preceded(crew, "_count_of")
    preceded(copy, "settle")
    preceded(copy, "build")
    at_the_swap(monkeypatch, others)
    outcome = purge(database)
    assert (strategy(outcome), outcome.report.warnings, moments) == ("rewrite", (), 4)
    left = before + 1 * moments - len(ids(cluster, database))
    assert outcome.report.deleted["log"] == left


@pytest.mark.usefixtures("young")
def test_a_count_ends_with_the_run_that_it_belongs_to(
    cluster: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, ended, signals = Database.scalar, list[type[MaintenanceError]](), Signals()

    def held(self: Database, sql: str, **values: Any) -> Any:
        if sql != "SELECT count(*) FROM public.log":
            return really(self, sql, **values)
        try:
            return really(self, "SELECT pg_advisory_xact_lock(77)")
        except MaintenanceError as error:
            ended.append(type(error))
            raise

    monkeypatch.setattr(Database, "scalar", held)
    stop = at_first_batch("log", lambda: signals.note("SIGTERM"), signals)
    with session(cluster, database) as holder, stop as pace:
        holder.execute("SELECT pg_advisory_lock(77)")
        with pytest.raises(Stopped):
            purge(database, pace)
    assert ended == [Cancelled]
    assert debris(cluster, database) == []
