"""What is locked and asked once more at the instant of a deletion.

A list of what goes is old as soon as it is written: others retry runs, hold them, and hang
subflows on them. So each deletion first locks what it is about to take along, leaves what another
session holds, and asks its rules again in a statement of its own, which sees what was committed
before the locks were had. Whoever comes later waits, and finds the rows gone.

On SQLite the transaction that surrounds all this holds the only write lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..catalogue import BY_NAME
from ..database.connection import Database
from ..plan.hanging import run_of, weight
from ..plan.rules import Rules
from ..plan.words import listed
from .batches import among, those

# Trees that begin among these positions, and the rows that leave with each but its logs; not the
# single runs that were tried in another way.
_TREES = """
SELECT CAST(d.top AS VARCHAR), sum(d.leaves)
FROM prefect_maintenance_worklist d WHERE d.top {begun} GROUP BY d.top ORDER BY d.top
"""
_BEGUN = """
SELECT b.top FROM prefect_maintenance_worklist b
WHERE b.position BETWEEN :first AND :last AND NOT (b.single AND b.position <= :tried)
  AND (SELECT min(e.position) FROM prefect_maintenance_worklist e WHERE e.top = b.top) >= :first
"""

_SINGLES = """
SELECT CAST(d.id AS VARCHAR), d.position, d.leaves, d.rule, d.untagged
FROM prefect_maintenance_worklist d
WHERE d.single AND d.position > :after ORDER BY d.position LIMIT :most
"""

# A tree is had whole or not at all: not when a run of it is held by somebody or goes no more.
_LOCKED_TREES = """
WITH tree AS (SELECT m.* FROM prefect_maintenance_worklist m WHERE m.top {tops}),
had AS MATERIALIZED (
    SELECT r.id, m.top FROM flow_run r JOIN tree m ON m.id = r.id WHERE {goes} {lock}
)
SELECT CAST(h.id AS VARCHAR), CAST(h.top AS VARCHAR) FROM had h WHERE h.top NOT IN (
    SELECT t.top FROM tree t JOIN flow_run x ON x.id = t.id
    WHERE NOT EXISTS (SELECT 1 FROM had g WHERE g.id = t.id))
"""

# Whoever hangs a subflow on a task run holds it until it is committed.
_RUNS_OF_HELD_TASK_RUNS = """
WITH had AS MATERIALIZED (
    SELECT t.id FROM task_run t WHERE t.flow_run_id IN {ids} FOR UPDATE OF t SKIP LOCKED
)
SELECT DISTINCT CAST(t.flow_run_id AS VARCHAR) FROM task_run t
WHERE t.flow_run_id IN {ids} AND NOT EXISTS (SELECT 1 FROM had h WHERE h.id = t.id)
"""

# Runs and their neighbours in the tree, as it is now.
_NEIGHBOURS = """
SELECT CAST(t.flow_run_id AS VARCHAR), CAST(c.id AS VARCHAR)
FROM flow_run c JOIN task_run t ON t.id = c.parent_task_run_id
WHERE c.parent_task_run_id {tasks}
UNION
SELECT CAST(c.id AS VARCHAR),
       CAST((SELECT t.flow_run_id FROM task_run t WHERE t.id = c.parent_task_run_id) AS VARCHAR)
FROM flow_run c WHERE c.id IN {ids} AND c.parent_task_run_id IS NOT NULL
"""
_TASKS = "SELECT t.id FROM task_run t WHERE t.flow_run_id IN {ids}"

# Runs of one batch that nobody holds; the locks are gone again when the statement has ended.
_FREE_SINGLES = """
SELECT CAST(r.id AS VARCHAR)
FROM flow_run r JOIN prefect_maintenance_worklist m ON m.id = r.id
WHERE r.id IN {ids} AND {goes} AND r.end_time IS NOT NULL AND r.parent_task_run_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM task_run t WHERE t.flow_run_id = r.id) {lock}
"""

_ROWS = """
SELECT d.position, {weight} FROM prefect_maintenance_worklist d
WHERE d.position BETWEEN :first AND :last ORDER BY d.position
"""

# The flow runs that rows of a batch belong to, and those of them that somebody holds: shared
# locks on the others keep them from being retried before the rows are gone.
_OWNERS = """
SELECT {run} AS id FROM {table} x JOIN prefect_maintenance_worklist d ON d.id = x.id
WHERE d.position BETWEEN :first AND :last
"""
_HELD_OWNERS = """
WITH owner AS MATERIALIZED ({owners}),
had AS MATERIALIZED (
    SELECT f.id FROM flow_run f WHERE f.id IN (SELECT o.id FROM owner o)
    FOR SHARE OF f SKIP LOCKED
)
SELECT CAST(f.id AS VARCHAR) FROM flow_run f WHERE f.id IN (SELECT o.id FROM owner o)
  AND NOT EXISTS (SELECT 1 FROM had h WHERE h.id = f.id)
"""
_LOCKED_ROWS = """
SELECT CAST(x.id AS VARCHAR) FROM {table} x WHERE x.id IN (
    SELECT d.id FROM prefect_maintenance_worklist d WHERE d.position BETWEEN :first AND :last)
{lock}
"""
_STILL_GOES = "SELECT CAST({x}.id AS VARCHAR) FROM {table} {x} WHERE {x}.id IN {ids} AND {goes}"
_UNHELD = " AND ({owner} IS NULL OR {owner} NOT IN {held})"

T = TypeVar("T")


@dataclass(frozen=True)
class Tree:
    """A flow run with its subflows.

    Attributes:
        top: its topmost run.
        leaves: rows that one transaction deletes with it; its logs go in others.
    """

    top: str
    leaves: int


@dataclass(frozen=True)
class Single:
    """A flow run that the API can guard, which is a tree of its own.

    Attributes:
        position: in the list of what is to be deleted.
        leaves: rows that leave with it, its logs aside.
        rule: by which it goes, 0 is the general policy.
        untagged: whether it has no tags.
    """

    id: str
    position: int
    leaves: int
    rule: int
    untagged: bool


def trees(database: Database, first: int, last: int, tried: int) -> list[Tree]:
    """Return the trees that begin between two positions of what is to be deleted.

    Args:
        database: where.
        first: position.
        last: position, included.
        tried: up to this position single runs are left out: something else deletes them.
    """
    sql = _TREES.format(begun=among(database, _BEGUN))
    found = database.rows(sql, first=first, last=last, tried=tried)
    return [Tree(top, int(leaves)) for top, leaves in found]


def singles(database: Database, after: int, most: int) -> list[Single]:
    """Return the next runs behind a position that the API can guard."""
    found = database.rows(_SINGLES, after=after, most=most)
    return [
        Single(run, position, int(leaves), rule, bool(untagged))
        for run, position, leaves, rule, untagged in found
    ]


def lock_trees(
    database: Database, rules: Rules, tops: Iterable[str], bound: Mapping[str, Any]
) -> list[str]:
    """Lock trees with all that hangs on them; returns the runs of those that still go whole.

    Left out is a tree that another session holds a part of, of which a run goes no more, or that
    a run was hung on since it was listed.
    """
    sql = _LOCKED_TREES.format(
        tops=among(database, those(database, tops)),
        goes=rules.run_still_goes,
        lock=_lock(database, "UPDATE", "r"),
    )
    top_of: dict[str, str] = dict(tuple(row) for row in database.rows(sql, **bound))
    if not top_of:
        return []
    ids, left = listed(top_of), set()
    if database.is_postgresql:
        held = database.rows(_RUNS_OF_HELD_TASK_RUNS.format(ids=ids))
        left = {top_of[run] for (run,) in held}
    tasks = among(database, _TASKS.format(ids=ids))
    left |= {
        top_of[run]
        for run, other in database.rows(_NEIGHBOURS.format(ids=ids, tasks=tasks))
        if other and top_of.get(other) != top_of[run]
    }
    return [run for run, top in top_of.items() if top not in left]


def free_singles(
    database: Database, rules: Rules, ids: Sequence[str], bound: Mapping[str, Any]
) -> list[str]:
    """Return the single runs that still go and that nobody holds right now."""
    sql = _FREE_SINGLES.format(
        ids=listed(ids), goes=rules.run_still_goes, lock=_lock(database, "UPDATE", "r")
    )
    return [row[0] for row in database.rows(sql, **bound)]


def pieces(
    database: Database, table: str, first: int, last: int, most: int
) -> list[tuple[int, int]]:
    """Cut a range of positions into such that take about so many rows along."""
    sql = _ROWS.format(weight=weight(BY_NAME[table], "d.id"))
    found = database.rows(sql, first=first, last=last)
    return [(piece[0], piece[-1]) for piece in cut([(at, int(rows)) for at, rows in found], most)]


def cut(weighed: Iterable[tuple[T, int]], most: int) -> list[list[T]]:
    """Cut what is weighed into pieces of at most so much, or of one thing that weighs more."""
    made: list[list[T]] = []
    weight = 0
    for thing, own in weighed:
        if not made or weight + own > most:
            made.append([])
            weight = 0
        made[-1].append(thing)
        weight += own
    return made


def lock_rows(
    database: Database, table: str, alias: str, goes: str, bound: Mapping[str, Any]
) -> list[str]:
    """Lock task runs or artifacts and the flow runs they belong to; returns which still go.

    Args:
        database: where, in a transaction.
        table: of the rows.
        alias: its name in `goes`.
        goes: says whether a row may go.
        bound: what `goes` binds, and the positions `first` and `last`.
    """
    kind, at = BY_NAME[table], {name: bound[name] for name in ("first", "last")}
    held: list[str] = []
    if database.is_postgresql:
        sql = _HELD_OWNERS.format(owners=_OWNERS.format(run=run_of(kind, "x"), table=table))
        held = [row[0] for row in database.rows(sql, **at)]
    sql = _LOCKED_ROWS.format(table=table, lock=_lock(database, "UPDATE", "x"))
    ids = [row[0] for row in database.rows(sql, **at)]
    if not ids:
        return []
    sql = _STILL_GOES.format(x=alias, table=table, ids=listed(ids), goes=goes)
    if held:
        sql += _UNHELD.format(owner=run_of(kind, alias), held=listed(held))
    asked = {name: value for name, value in bound.items() if name not in at}
    return [row[0] for row in database.rows(sql, **asked)]


def _lock(database: Database, strength: str, alias: str) -> str:
    return f"FOR {strength} OF {alias} SKIP LOCKED" if database.is_postgresql else ""
