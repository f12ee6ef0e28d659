"""Who reads a table while it is rewritten never sees it empty, and is left alone."""

from __future__ import annotations

import threading

import sqlalchemy as sa
from maintenance import engine_for, name_of, run_step, wait_until
from paces import paced
from rewriting import REWRITTEN, by_rewrite, kept_by_deletes
from world import dump

from lab.postgres import Postgres


def test_a_long_reader_is_left_alone_and_named(cluster: Postgres, filled: str) -> None:
    wanted = kept_by_deletes(cluster, filled)
    with engine_for(filled).begin() as reader:
        reader.execute(sa.text("SET application_name = 'a long report'"))
        reader.execute(sa.text("SELECT count(*) FROM log"))
        outcome = run_step("purge", by_rewrite(filled, lock_timeout=0.5))
    assert any("a long report" in warning for warning in outcome.report.warnings)
    assert dump(engine_for(filled), REWRITTEN) == wanted


def test_no_swap_happens_across_a_snapshot_that_would_see_an_empty_table(
    cluster: Postgres, filled: str
) -> None:
    wanted = kept_by_deletes(cluster, filled)
    before = dump(engine_for(filled), ["log"])["log"]
    engine = engine_for(filled)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        old.execute(sa.text("SELECT 1 FROM flow LIMIT 1"))
        pace = paced()
        outcome = run_step("purge", by_rewrite(filled, lock_timeout=0.5), pace=pace)
        assert pace.events.waited["snapshots"] > 0
        seen = old.execute(sa.text("SELECT count(*) FROM log")).scalar_one()
        assert seen == len(before)
    assert any("snapshot" in warning for warning in outcome.report.warnings)
    assert dump(engine, REWRITTEN) == wanted


def test_no_swap_happens_under_a_transaction_at_work_whose_snapshot_is_older_than_the_copy(
    cluster: Postgres, filled: str
) -> None:
    wanted = kept_by_deletes(cluster, filled)
    engine = engine_for(filled)
    seen: list[int] = []

    def report() -> None:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as old:
            old.execute(sa.text("SELECT 1 FROM flow LIMIT 1"))
            # At work as long as somebody else holds this.
            old.execute(sa.text("SELECT pg_advisory_lock(77)"))
            seen.append(old.execute(sa.text("SELECT count(*) FROM log")).scalar_one())

    before = len(dump(engine, ["log"])["log"])
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    at_work = threading.Thread(target=report)
    with engine.connect() as holder:
        holder.execute(sa.text("SELECT pg_advisory_lock(77)"))
        at_work.start()
        wait_until(lambda: cluster.execute(waits, name_of(filled))[0][0])
        outcome = run_step("purge", by_rewrite(filled, lock_timeout=0.5))
        assert not seen
    at_work.join()
    assert seen == [before]
    assert any("snapshot" in warning for warning in outcome.report.warnings)
    assert dump(engine, REWRITTEN) == wanted
    engine.dispose()
