"""The catalogue knows every table and column of the Prefect at hand, and measures honestly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, name_of, run_step
from prefect_maintenance.catalogue import BY_NAME, EXCLUDED, REVISIONS, TABLES

from lab import environments
from lab.environments import ROOT
from lab.postgres import Postgres


@pytest.fixture(params=["database", "sqlite_database"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_every_table_is_either_kept_lean_or_excluded_with_a_reason(url: str) -> None:
    there = {name for name in sa.inspect(engine_for(url)).get_table_names() if "fts" not in name}
    assert there - set(BY_NAME) - set(EXCLUDED) == set()
    assert set(BY_NAME) <= there
    assert all(EXCLUDED.values())


def test_every_column_of_the_catalogue_exists(url: str) -> None:
    looker = sa.inspect(engine_for(url))
    for table in TABLES:
        columns = {column["name"] for column in looker.get_columns(table.name)}
        assert {table.age, *(parent.column for parent in table.parents)} <= columns


def test_the_schema_revision_is_known(url: str) -> None:
    with engine_for(url).connect() as connection:
        revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    assert revision in REVISIONS["postgresql" if "postgresql" in url else "sqlite"]


# What Prefect 3.4.0 came after; everything that follows is supported.
BEFORE = {"postgresql": "7a73514ca2d6", "sqlite": "bbca16f6f218"}
REVISION = re.compile(r'^(down_revision|revision)\b[^=]*= *"([0-9a-f]+)"', re.M)


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_every_revision_up_to_the_newest_prefect_that_can_be_had_is_known(
    dialect: str, tmp_path: Path
) -> None:
    after: dict[str, list[str]] = {}
    for migration in (environments.newest_migrations(tmp_path) / dialect).glob("*.py"):
        words = dict(REVISION.findall(migration.read_text()))
        if "revision" in words:
            after.setdefault(words.get("down_revision", ""), []).append(words["revision"])
    supported, left = set(), [BEFORE[dialect]]
    while left:
        following = after.get(left.pop(), [])
        supported.update(following)
        left += following
    assert supported == REVISIONS[dialect]


def test_every_foreign_key_of_the_schema_is_what_the_catalogue_says(database: str) -> None:
    looker = sa.inspect(engine_for(database))
    for table in TABLES:
        keys = {
            (key["constrained_columns"][0], key["referred_table"])
            for key in looker.get_foreign_keys(table.name)
        }
        for parent in table.parents:
            assert ((parent.column, parent.table) in keys) == parent.enforced


def fill_logs(url: str, rows: int) -> None:
    engine = engine_for(url)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log (id, name, level, message, timestamp, flow_run_id) SELECT "
                "gen_random_uuid(), 'l', 20, repeat('m', 40 + (n % 60)::int), "
                "now() - interval '100 days' + n * interval '1 second', gen_random_uuid() "
                "FROM generate_series(1, :rows) n"
            ),
            {"rows": rows},
        )


def test_the_estimate_of_bloat_is_near_what_a_rewrite_gives_back(
    cluster: Postgres, database: str
) -> None:
    fill_logs(database, 60_000)
    name = name_of(database)
    cluster.execute("ANALYZE log", name)
    dense = run_step("bloat_info", {"db_url": database}).report.tables[0]
    assert dense.bloat_percent is not None
    assert dense.bloat_percent < 10, "a dense table must not look bloated"

    cluster.execute("DELETE FROM log WHERE random() < 0.7", name)
    cluster.execute("VACUUM (ANALYZE, TRUNCATE false) log", name)
    bloated = run_step("bloat_info", {"db_url": database}).report.tables[0]
    assert "estimate" in bloated.bloat_method
    before = cluster.execute("SELECT pg_total_relation_size('log')", name)[0][0]
    cluster.execute("VACUUM FULL log", name)
    given = before - cluster.execute("SELECT pg_total_relation_size('log')", name)[0][0]
    assert bloated.bloat_bytes == pytest.approx(given, rel=0.15)


def test_the_extension_is_used_where_it_is_installed(cluster: Postgres, database: str) -> None:
    name = name_of(database)
    fill_logs(database, 20_000)
    cluster.execute("CREATE EXTENSION pgstattuple", name)
    cluster.execute("DELETE FROM log WHERE random() < 0.5", name)
    cluster.execute("VACUUM (ANALYZE, TRUNCATE false) log", name)
    log = run_step("bloat_info", {"db_url": database}).report.tables[0]
    assert "pgstattuple_approx" in log.bloat_method
    assert log.bloat_percent is not None
    assert 40 < log.bloat_percent < 60


def test_a_small_share_is_purged_by_the_index_and_a_large_one_by_the_heap(
    cluster: Postgres, database: str
) -> None:
    fill_logs(database, 30_000)
    name = name_of(database)
    cluster.execute("VACUUM ANALYZE log", name)
    oldest = cluster.execute("SELECT min(timestamp) FROM log", name)[0][0]
    later = oldest.replace(tzinfo=oldest.tzinfo)
    for seconds, strategy in ((1_000, "delete by time range"), (20_000, "delete by heap range")):
        cut = cluster.execute(
            "SELECT (%s + %s * interval '1 second' + interval '1 day')", name, (later, seconds)
        )[0][0]
        asked = {"db_url": database, "retention_days": 1, "reference_time": cut.isoformat()}
        # Logs of runs that are gone would go as orphans; only age is of interest here.
        cluster.execute("UPDATE log SET flow_run_id = NULL", name)
        cluster.execute("VACUUM (FULL, ANALYZE) log", name)
        outcome = run_step("purge", {**asked, "batch_size": 500})
        assert {t.name: t.strategy for t in outcome.report.tables}["log"] == strategy


MEASURE = """
import resource, sys
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.pace.pace import Pace
outcome = STEPS["purge"](Settings.parse({"db_url": sys.argv[1]}, check=False), Pace())
print(outcome.report.deleted["log"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_the_memory_of_a_purge_does_not_grow_with_its_rows(database: str) -> None:
    path = os.pathsep.join([str(ROOT / "roles" / "prefect_maintenance" / "module_utils")])
    used = {}
    for rows in (1_000, 400_000):
        fill_logs(database, rows)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, database],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        deleted, used[rows] = map(int, done.stdout.split())
        assert deleted == rows
    assert used[400_000] - used[1_000] < 10, f"MiB: {used}"
