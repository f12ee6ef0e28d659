"""Which column moves the rows of a table, and that nobody notices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect_maintenance.catalogue import TABLES
from prefect_maintenance.database.connection import Database, connect
from prefect_maintenance.measure import compactable

SHAPES = {
    "(id int PRIMARY KEY, created timestamptz, other int)": "created",
    "(id int PRIMARY KEY, long text, other int)": "other",
    "(id int PRIMARY KEY, long text)": "long",
    '(id int PRIMARY KEY, made int GENERATED ALWAYS AS (1) STORED, "A b" int)': '"A b"',
    "(id int PRIMARY KEY, counted int GENERATED ALWAYS AS IDENTITY)": None,
    "(id int PRIMARY KEY, parent int REFERENCES t (id))": None,
    "(id int PRIMARY KEY, created int UNIQUE)": None,
    "(id int PRIMARY KEY, created int); CREATE INDEX ON t (id) INCLUDE (created)": None,
    "(id int PRIMARY KEY, created int); CREATE INDEX ON t ((created + 1))": None,
    "(id int PRIMARY KEY, created int); CREATE INDEX ON t (id) WHERE created > 1": None,
}


@pytest.fixture
def scratch(database: str) -> Iterator[Database]:
    with connect(database, 5.0) as opened:
        yield opened


def test_the_column_is_in_no_index_and_in_no_key(scratch: Database) -> None:
    found = {}
    for shape in SHAPES:
        scratch.ddl(f"CREATE TABLE t {shape}")
        found[shape] = compactable.movable_by(scratch, "t")
        scratch.ddl("DROP TABLE t")
    assert found == SHAPES


def test_every_table_of_prefect_can_be_compacted(scratch: Database) -> None:
    assert {t.name: compactable.refusals(scratch, t.name) for t in TABLES if t.reclaim} == {
        t.name: () for t in TABLES if t.reclaim
    }


def test_row_security_that_binds_the_owner_refuses(scratch: Database) -> None:
    scratch.ddl("CREATE TABLE t (id int PRIMARY KEY, created int)")
    scratch.ddl("ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    scratch.ddl("CREATE ROLE bound_by_it; ALTER TABLE t OWNER TO bound_by_it")
    scratch.ddl("SET ROLE bound_by_it")
    assert compactable.refusals(scratch, "t") == ("row security may hide rows of it",)
    scratch.ddl("RESET ROLE; DROP TABLE t; DROP ROLE bound_by_it")
