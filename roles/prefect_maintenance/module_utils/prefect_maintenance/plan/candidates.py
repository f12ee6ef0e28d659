"""Which flow runs go, laid down in temporary tables of the session.

A tree of runs and subflows goes whole or stays whole, so trees have to be followed. Within one
statement PostgreSQL guesses how many runs a recursion finds, and with some thousand subflows it
guesses thousands of millions; each step of the way in a table of its own, with statistics, leaves
nothing to guess. SQLite takes the same statements.

Temporary tables can be filled in a transaction that may not write: only their creation has to come
before it (PostgreSQL manual, SET TRANSACTION).
"""

from __future__ import annotations

from datetime import datetime

from ..database.connection import Database
from . import ranks
from .joins import without
from .rules import Rules
from .words import age

# `relative` is the parent of `run` where `above` is 1, a child of it where it is 0.
_TABLES = {
    "prefect_maintenance_relative": "SELECT r.id AS run, r.id AS relative, 1 AS above",
    "prefect_maintenance_candidate": (
        f"SELECT r.id AS id, 0 AS rule, CAST(r.state_type AS VARCHAR) AS state, {age('r')} AS age"
    ),
    "prefect_maintenance_kind": (
        "SELECT r.state_type, r.deployment_id, r.flow_id, r.work_queue_id, r.tags, 0 AS rule"
    ),
    "prefect_maintenance_decided": "SELECT r.id AS id, 0 AS rule",
    "prefect_maintenance_ranked": "SELECT r.id AS id, CAST('' AS VARCHAR) AS clause",
    "prefect_maintenance_family": "SELECT r.id AS id",
    "prefect_maintenance_kept": "SELECT r.id AS id",
    "prefect_maintenance_tree": "SELECT r.id AS id, r.id AS top",
}
# What is looked up by; two are only read as a whole.
_FIRST = {
    "prefect_maintenance_relative": "run",
    "prefect_maintenance_kind": "",
    "prefect_maintenance_decided": "",
}
# For all runs at once, until the snapshot ends; on disk their lists take three times as long.
_MEMORY = "SET LOCAL work_mem = '64MB'"
_CREATE = "CREATE TEMPORARY TABLE {table} AS {columns} FROM flow_run r WHERE 1 = 0"

_THAT_GO_BY_THEMSELVES = """
INSERT INTO prefect_maintenance_candidate (id, rule) SELECT r.id, 0 FROM flow_run r WHERE {goes}
"""
_AMONG_THE_NEWEST = "INSERT INTO prefect_maintenance_ranked (id, clause) {newest}"
_THAT_GO_BY_RULES = """
INSERT INTO prefect_maintenance_candidate (id, rule, state, age)
SELECT r.id, COALESCE(c.rule, 0), CAST(r.state_type AS VARCHAR), {age}
FROM flow_run r LEFT JOIN prefect_maintenance_decided c ON c.id = r.id
WHERE {goes} AND NOT EXISTS (SELECT 1 FROM prefect_maintenance_ranked n WHERE n.id = r.id)
"""
_PARENTS = """
INSERT INTO prefect_maintenance_relative (run, relative, above)
SELECT c.id, t.flow_run_id, 1
FROM flow_run c JOIN task_run t ON t.id = c.parent_task_run_id WHERE t.flow_run_id IS NOT NULL
"""
_CHILDREN = """
INSERT INTO prefect_maintenance_relative (run, relative, above)
SELECT p.relative, p.run, 0 FROM prefect_maintenance_relative p WHERE p.above = 1
"""
# All runs that hang together with one that goes by itself.
_FAMILIES = """
INSERT INTO prefect_maintenance_family (id)
WITH RECURSIVE family(id) AS (
    SELECT d.id FROM prefect_maintenance_candidate d
    WHERE d.id IN (SELECT p.run FROM prefect_maintenance_relative p)
    UNION
    SELECT p.relative FROM family f JOIN prefect_maintenance_relative p ON p.run = f.id
)
SELECT f.id FROM family f
"""
# Whatever hangs together with a run that stays.
_KEPT = """
INSERT INTO prefect_maintenance_kept (id)
WITH RECURSIVE kept(id) AS (
    SELECT f.id FROM prefect_maintenance_family f
    WHERE NOT EXISTS (SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = f.id)
    UNION
    SELECT p.relative FROM kept k JOIN prefect_maintenance_relative p ON p.run = k.id
)
SELECT k.id FROM kept k
"""
_SPARE = """
DELETE FROM prefect_maintenance_candidate WHERE id IN (
    SELECT k.id FROM prefect_maintenance_kept k)
"""
# A run's place in its tree: the id of the topmost run, so that a tree is deleted in one piece.
_TREES = """
INSERT INTO prefect_maintenance_tree (id, top)
WITH RECURSIVE tree(id, top) AS (
    SELECT d.id, d.id FROM prefect_maintenance_candidate d
    WHERE d.id IN (SELECT p.run FROM prefect_maintenance_relative p WHERE p.above = 0)
      AND NOT EXISTS (
          SELECT 1 FROM prefect_maintenance_relative p WHERE p.run = d.id AND p.above = 1)
    UNION
    SELECT p.relative, o.top
    FROM tree o JOIN prefect_maintenance_relative p ON p.run = o.id AND p.above = 0
)
SELECT o.id, o.top FROM tree o
"""


def make_tables(database: Database) -> None:
    """Make the temporary tables, empty; what an earlier plan left in the session goes."""
    for table, columns in _TABLES.items():
        database.run(f"DROP TABLE IF EXISTS {table}")
        database.run(_CREATE.format(table=table, columns=columns))
        if first := _FIRST.get(table, "id"):
            database.run(f"CREATE INDEX {table}_at ON {table} ({first})")


def find(database: Database, rules: Rules, cutoff: datetime) -> None:
    """Find the flow runs that go with their whole trees; fills prefect_maintenance_candidate.

    Args:
        database: in a snapshot; `make_tables` came before it.
        rules: the policy as SQL.
        cutoff: of flow runs.
    """
    if rules.runs:
        _decide(database, rules, cutoff)
    else:
        sql = _THAT_GO_BY_THEMSELVES.format(goes=rules.run_goes)
        database.run(sql, flow_runs=cutoff, **rules.bound)
    _analyse(database, "prefect_maintenance_candidate")
    database.run(_PARENTS)
    database.run(_CHILDREN)
    _analyse(database, "prefect_maintenance_relative")
    _follow(database, _FAMILIES)
    _analyse(database, "prefect_maintenance_family")
    _follow(database, _KEPT)
    database.run(_SPARE)
    _analyse(database, "prefect_maintenance_candidate")


def _decide(database: Database, rules: Rules, cutoff: datetime) -> None:
    """Lay down which rule decides about each run, which are among the newest, and which go."""
    bound = rules.bound
    if database.is_postgresql:
        database.run(_MEMORY)
    database.run(rules.runs.lay_down_kinds, **bound)
    _analyse(database, "prefect_maintenance_kind")
    database.run(rules.runs.lay_down_decided)
    _analyse(database, "prefect_maintenance_decided")
    if rules.runs.ranked:
        newest = ranks.newest(rules.runs, "prefect_maintenance_decided")
        database.run(_AMONG_THE_NEWEST.format(newest=newest), **bound)
        _analyse(database, "prefect_maintenance_ranked")
    sql = _THAT_GO_BY_RULES.format(age=age("r"), goes=rules.decided_run_goes("COALESCE(c.rule, 0)"))
    database.run(sql, flow_runs=cutoff, **bound)


def find_trees(database: Database) -> None:
    """Find the topmost run of each candidate that has subflows or is one, in a table of trees."""
    with database.transaction():
        _follow(database, _TREES)
    _analyse(database, "prefect_maintenance_tree")


def _follow(database: Database, sql: str) -> None:
    """Carry out a recursion in a transaction, by the index from each run to its relatives.

    How many runs a step of it finds is known to nobody beforehand, so a long chain must not read
    all relatives at each step.
    """
    with without(database, "hashjoin", "mergejoin"):
        database.run(sql)


def _analyse(database: Database, table: str) -> None:
    if database.is_postgresql:
        database.run(f"ANALYZE {table}")
