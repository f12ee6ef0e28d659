"""Whatever happens to a compaction: every row stays, nobody notices, the next run finishes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import pytest
from compacting import (
    LAST,
    TABLE,
    asked,
    broken,
    compact_table,
    compacted,
    content,
    indexes,
    pages,
    way,
)
from killing import killed_at, places
from maintenance import name_of, run_step, small_disk, table, wait_until
from paces import paced
from prefect_maintenance.errors import LockTimeout, Stopped
from prefect_maintenance.events import Progress
from prefect_maintenance.execute.compact_rows import NotCompacted
from prefect_maintenance.pace.signals import Signals
from rewriting import doing, session

from lab.family import TABLES
from lab.postgres import Postgres

# So many statements lie between two at which a compaction is killed; `make kills` leaves out none.
EVERY = 16
# Bytes of a full disk that VACUUM may need for its maps; a compaction needs more.
SPARE = 65536


def at_a_chunk(act: Callable[[], object], number: int = 2) -> Callable[[Progress], None]:
    """Return what does something once, before a chunk of pages is emptied."""
    seen: list[Progress] = []

    def show(progress: Progress) -> None:
        if progress.unit == "pages":
            seen.append(progress)
            if len(seen) == number:
                act()

    return show


def test_a_row_that_somebody_holds_stays_and_the_report_says_whose_it_is(
    cluster: Postgres, family: str
) -> None:
    before, size = content(cluster, family), pages(cluster, family, TABLE)
    with session(cluster, family, application_name="an editor") as holder:
        holds = at_a_chunk(lambda: holder.execute(f"{LAST} FOR UPDATE"), 1)
        done = compact_table(family, pace=paced(holds), lock_timeout=0.3)
    assert "1 rows there could not be moved, held by an editor" in done.warnings[0]
    assert pages(cluster, family, TABLE) == size
    assert content(cluster, family) == before
    assert compact_table(family).warnings == ()
    assert pages(cluster, family, TABLE) < size / 5
    assert content(cluster, family) == before
    assert broken(cluster, family) == []


def test_who_keeps_the_end_from_being_cut_off_is_named(cluster: Postgres, family: str) -> None:
    size = pages(cluster, family, TABLE)
    with session(cluster, family, application_name="a late report") as reader:
        sql = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM flow"
        done = compact_table(
            family, pace=paced(at_a_chunk(lambda: reader.execute(sql))), lock_timeout=0.3
        )
    assert (
        "a snapshot still sees the rows that were there, most likely of a late" in done.warnings[0]
    )
    assert pages(cluster, family, TABLE) == size


def test_nothing_is_moved_in_vain_while_somebody_keeps_an_old_snapshot(
    cluster: Postgres, family: str
) -> None:
    last = "SELECT max(ctid)::text FROM task_run_state"
    before = cluster.execute(last, name_of(family))
    with session(cluster, family, application_name="a long report") as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM flow")
        with pytest.raises(LockTimeout, match=r"a long report.*would keep the end of task_run_st"):
            compact_table(family, lock_timeout=0.3)
    with session(cluster, family, application_name="a writer at rest") as writer:
        writer.execute("INSERT INTO flow (id, name) VALUES (gen_random_uuid(), 'theirs')")
        with pytest.raises(LockTimeout, match="a writer at rest"):
            compact_table(family, lock_timeout=0.3)
    assert cluster.execute(last, name_of(family)) == before


TRIGGER = (
    "CREATE TABLE heard (id uuid); "
    "CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "INSERT INTO heard VALUES (NEW.id); RETURN NEW; END $$; "
    "CREATE TRIGGER hears AFTER UPDATE ON task_run_state FOR EACH ROW EXECUTE FUNCTION hear()"
)
NOTICING = {
    "a trigger of its fires at updates": TRIGGER,
    "it has rules": "CREATE RULE none AS ON UPDATE TO task_run_state WHERE false "
    "DO INSTEAD NOTHING",
    "it is published": "CREATE PUBLICATION all_of_it FOR ALL TABLES",
    "an update computes a column": "ALTER TABLE task_run_state "
    "ADD COLUMN made int GENERATED ALWAYS AS (length(name)) STORED",
    "its rows may not meet a constraint": "ALTER TABLE task_run_state "
    "ADD CHECK (name = 'other') NOT VALID",
    "each of its columns is part of a key or of an index": "DO $$ DECLARE c text; BEGIN "
    "FOR c IN SELECT attname FROM pg_attribute WHERE attrelid = 'task_run_state'::regclass "
    "AND attnum > 0 AND NOT attisdropped LOOP "
    "EXECUTE format('CREATE INDEX ON task_run_state ((%I IS NULL))', c); END LOOP; END $$",
}


@pytest.mark.parametrize("why", NOTICING)
def test_a_table_whose_updates_somebody_would_notice_is_only_vacuumed(
    cluster: Postgres, family: str, why: str
) -> None:
    cluster.execute(NOTICING[why], name_of(family))
    with pytest.raises(NotCompacted, match=why):
        compact_table(family)


def test_the_choice_says_why_a_table_is_not_compacted(cluster: Postgres, family: str) -> None:
    cluster.execute(TRIGGER, name_of(family))
    outcome = run_step("vacuum", asked(family), check=True)
    assert way(outcome, TABLE) == "plain"
    assert "a trigger of its fires at updates" in table(outcome, TABLE).reclaim_why
    with session(cluster, family) as other:
        other.execute("ALTER TABLE task_run_state DISABLE TRIGGER hears")
        other.connection.commit()
    assert way(run_step("vacuum", asked(family), check=True), TABLE) == "compact"


def test_a_trigger_that_comes_meanwhile_never_fires(cluster: Postgres, family: str) -> None:
    before = content(cluster, family)
    makes = at_a_chunk(doing(cluster, family, TRIGGER))
    with pytest.raises(NotCompacted, match="not be compacted any more: a trigger"):
        compact_table(family, pace=paced(makes))
    assert cluster.execute("SELECT count(*) FROM heard", name_of(family)) == [(0,)]
    assert content(cluster, family) == before


def test_who_locks_the_table_goes_first_and_the_rest_is_done_later(
    cluster: Postgres, family: str
) -> None:
    size = pages(cluster, family, TABLE)
    with session(cluster, family) as other:
        lock = f"LOCK TABLE {TABLE} IN SHARE MODE"
        done = compact_table(
            family, pace=paced(at_a_chunk(lambda: other.execute(lock), 1)), lock_timeout=0.3
        )
    assert "was compacted in part: the lock on task_run_state" in " ".join(done.warnings)
    compact_table(family)
    assert pages(cluster, family, TABLE) < size / 5


def test_a_stop_between_two_chunks_leaves_a_whole_table(cluster: Postgres, family: str) -> None:
    before, size = content(cluster, family), pages(cluster, family, TABLE)
    signals = Signals()
    with pytest.raises(Stopped, match="stopped by SIGTERM while at task_run_state"):
        compact_table(family, pace=paced(at_a_chunk(lambda: signals.note("SIGTERM")), signals))
    assert content(cluster, family) == before
    compact_table(family)
    assert content(cluster, family) == before
    assert pages(cluster, family, TABLE) < size / 5


def test_killed_at_any_statement_it_leaves_every_row_and_the_next_run_finishes(
    cluster: Postgres, filled_family: str, family: str
) -> None:
    before, named, size = (
        content(cluster, family), indexes(cluster, family), pages(cluster, family, TABLE)
    )  # fmt: skip
    played = places(family)[:: int(os.environ.get("KILLS", EVERY))]
    gone = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'prefect-maint%%'"
    for place in played:
        trial = cluster.create_database(f"k_{uuid.uuid4().hex[:12]}", filled_family)
        assert killed_at(trial, place), place
        wait_until(lambda: not cluster.execute(gone), 60, "a session of a dead one lives on")
        assert content(cluster, trial, TABLE) == {TABLE: before[TABLE]}, place
        compact_table(trial)
        assert content(cluster, trial) == before, place
        assert (indexes(cluster, trial), broken(cluster, trial)) == (named, []), place
        assert pages(cluster, trial, TABLE) < size / 5, place
        cluster.drop_database(name_of(trial))
    assert played


def test_an_index_that_could_not_be_built_anew_lies_nowhere_and_is_told(
    cluster: Postgres, family: str
) -> None:
    named = indexes(cluster, family)
    with session(cluster, family) as reader:

        def read(progress: Progress) -> None:
            if progress.unit == "indexes" and not progress.done:
                reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM flow")

        done = compact_table(family, pace=paced(read), lock_timeout=0.2)
    assert "were not built anew" in " ".join(done.warnings)
    assert indexes(cluster, family) == named
    assert broken(cluster, family) == []


def test_no_index_is_begun_while_somebody_uses_the_table(cluster: Postgres, family: str) -> None:
    """Built but not put in its place, it would lie there until they are gone."""
    named = indexes(cluster, family)
    with session(cluster, family, application_name="a writer") as writer:

        def write(progress: Progress) -> None:
            if progress.unit == "indexes" and not progress.done:
                writer.execute(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")

        done = compact_table(family, pace=paced(write), lock_timeout=0.2)
        assert "a writer as postgres uses task_run_state" in " ".join(done.warnings)
        assert indexes(cluster, family) == named


def test_the_next_step_of_any_kind_removes_an_index_that_was_left_half_built(
    cluster: Postgres, family: str
) -> None:
    name, named = name_of(family), indexes(cluster, family)
    with session(cluster, family) as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM flow")
        build = "SET lock_timeout = '200ms'; "
        with session(cluster, family) as builder:
            builder.connection.autocommit = True
            builder.execute(build)
            with pytest.raises(Exception, match="lock timeout"):
                builder.execute("REINDEX TABLE CONCURRENTLY task_run_state")
    beside = set(indexes(cluster, family)) - set(named)
    assert {name.startswith("pg_toast_") for name in beside} == {True, False}
    # An index of somebody else's that is not valid is his business.
    cluster.execute("CREATE INDEX theirs ON task_run_state (id)", name)
    cluster.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'theirs'::regclass", name
    )
    run_step("vacuum", {"db_url": family, "vacuum": "none"})
    assert indexes(cluster, family) == sorted([*named, "theirs"])


def test_a_disk_that_fills_meanwhile_leaves_every_row_and_the_run_goes_on(
    cluster: Postgres, filled_family: str
) -> None:
    with small_disk(cluster, filled_family, "filling") as disk:
        name = name_of(disk.url)
        # Fresh indexes have no room for the entries of rows that move; what VACUUM notes has.
        for sql in (f"REINDEX TABLE {TABLE}", "VACUUM (ANALYZE)", "ANALYZE", "VACUUM"):
            cluster.execute(sql, name)
        before, named = content(cluster, disk.url), indexes(cluster, disk.url)
        ballast = disk.folder / "ballast"

        def fill(progress: Progress) -> None:
            if (progress.table, progress.unit) == (TABLE, "pages") and not ballast.exists():
                disk.fill(leave=SPARE)

        full = compacted(disk.url, paced(fill))
        told = next(one for one in full.report.warnings if f"{TABLE} was not compacted" in one)
        assert "the database server's disk is full" in told
        assert (full.error, way(full, TABLE)) == (None, "plain")
        assert {table(full, each).error for each in TABLES} == {None}
        assert content(cluster, disk.url) == before
        assert (indexes(cluster, disk.url), broken(cluster, disk.url)) == (named, [])
        ballast.unlink()
        again = compacted(disk.url)
        assert (way(again, TABLE), again.report.warnings) == ("compact", ())
        assert content(cluster, disk.url) == before
        assert (indexes(cluster, disk.url), broken(cluster, disk.url)) == (named, [])
