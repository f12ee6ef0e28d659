"""A compaction gives the space back in its place: the same rows, keys and indexes, no copy."""

from __future__ import annotations

from compacting import (
    RUNS,
    TABLE,
    asked,
    broken,
    compact_table,
    compacted,
    content,
    indexes,
    pages,
    way,
    whole,
)
from maintenance import name_of, run_step, table
from paces import paced
from prefect_maintenance.events import Progress
from rewriting import session

from lab.family import TABLES, fill
from lab.postgres import Postgres

# Bytes of the maps of free and of visible pages, which VACUUM FULL leaves out.
MAPS = 4 * 8192


def test_every_table_keeps_its_rows_and_shrinks_to_what_vacuum_full_leaves(
    cluster: Postgres, family: str
) -> None:
    before, named = content(cluster, family), indexes(cluster, family)
    checked = run_step("vacuum", asked(family), check=True)
    seen: list[Progress] = []
    done = compacted(family, paced(seen.append))
    assert content(cluster, family) == before
    assert indexes(cluster, family) == named
    assert broken(cluster, family) == []
    again = compacted(family)
    assert not again.changed
    assert {way(again, name) for name in TABLES} == {"plain"}
    left = {name: whole(cluster, family, name) for name in TABLES}
    for name in TABLES:
        cluster.execute(f"VACUUM FULL {name}", name_of(family))
        assert left[name] <= 1.1 * whole(cluster, family, name) + MAPS, name
        assert (way(checked, name), way(done, name)) == ("compact", "compact")
        # VACUUM's while it cut the end off.
        assert table(done, name).lock_ms_max > table(again, name).lock_ms_max == 0
    assert done.report.warnings == ()
    assert done.answers["bytes_given_back"] > 0
    told = [progress for progress in seen if progress.table == TABLE]
    assert {progress.unit for progress in told} >= {"pages", "indexes"}
    assert all(0 <= progress.done <= (progress.total or 0) for progress in told)


def test_rows_anywhere_move_together_although_their_own_pages_have_room(
    cluster: Postgres, template: str
) -> None:
    url = cluster.create_database("scattered", template)
    fill(cluster, "scattered", RUNS, scattered=True)
    before = content(cluster, url)
    done = compact_table(url)
    assert content(cluster, url) == before
    left = whole(cluster, url, TABLE)
    cluster.execute(f"VACUUM FULL {TABLE}", "scattered")
    assert left <= 1.1 * whole(cluster, url, TABLE) + MAPS
    assert done.warnings == ()
    # Now that it is dense, nothing is moved in vain.
    assert compact_table(url).rows == 0
    cluster.drop_database("scattered")


def test_what_others_write_meanwhile_is_kept_and_cascades_reach_all(
    cluster: Postgres, family: str
) -> None:
    """At each chunk of each table somebody deletes a run, changes one, and adds one."""
    with session(cluster, family) as others:
        others.connection.autocommit = True
        others.execute("SELECT id::text FROM flow_run ORDER BY ctid DESC")
        runs = [row[0] for row in others.fetchall()]
        gone, changed, added = set(), set(), set()

        def act(progress: Progress) -> None:
            if progress.table not in TABLES or len(runs) < 10:
                return
            others.execute("DELETE FROM flow_run WHERE id = %s", [runs[0]])
            gone.add(runs.pop(0))
            others.execute("UPDATE flow_run SET name = 'changed' WHERE id = %s", [runs[0]])
            others.execute("UPDATE task_run SET name = 'changed' WHERE flow_run_id = %s", [runs[0]])
            changed.add(runs.pop(0))
            others.execute(
                "INSERT INTO flow_run (id, flow_id, name, run_count) "
                "SELECT gen_random_uuid(), id, 'added', 0 FROM flow RETURNING id::text"
            )
            added.add(others.fetchone()[0])

        for name in TABLES:
            compact_table(family, name, paced(act))
        others.execute("SELECT id::text, name FROM flow_run")
        names = dict(others.fetchall())
        others.execute("SELECT DISTINCT flow_run_id::text FROM task_run WHERE name = 'changed'")
        assert {row[0] for row in others.fetchall()} == changed
    assert len(changed) > 10
    assert {run for run, name in names.items() if name == "changed"} == changed
    assert {run for run, name in names.items() if name == "added"} == added
    assert set(names) == {*runs, *changed, *added}
    assert not gone & set(names)
    assert broken(cluster, family) == []


def test_a_role_that_only_owns_the_tables_compacts_them(cluster: Postgres, family: str) -> None:
    name = name_of(family)
    cluster.execute("CREATE ROLE compacting LOGIN PASSWORD 'kept'")
    for owned in cluster.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name
    ):
        cluster.execute(f"ALTER TABLE {owned[0]} OWNER TO compacting", name)
    cluster.execute("GRANT pg_read_all_stats TO compacting")
    before = pages(cluster, family, TABLE)
    done = compact_table(cluster.url(name, "compacting", "kept"))
    assert pages(cluster, family, TABLE) < before / 5
    assert done.warnings == ()
    cluster.execute("REASSIGN OWNED BY compacting TO postgres", name)
    cluster.execute("DROP OWNED BY compacting", name)
    cluster.execute("DROP ROLE compacting")
