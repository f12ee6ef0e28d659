"""The SQL that decides which rows go: the rules of the policy, each written once.

Constants, because a .sql file does not travel with a module. All of it runs on PostgreSQL and
SQLite. Names in braces are filled in by `Rules` from checked words only; values are bound.

A row's age counts from the first of end_time, state_timestamp, start_time and
expected_start_time that is set: before Prefect 3.6.14 a run that ended without having started
has no end_time (PrefectHQ/prefect commit c4a4a7e199).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..catalogue import Table
from ..request.policy import TERMINAL_STATES, UNFINISHED_STATES

# The first half can use the index on end_time; together they are COALESCE(...) < cutoff.
_OLD = (
    "({r}.end_time < :{cutoff} OR ({r}.end_time IS NULL AND "
    "COALESCE({r}.state_timestamp, {r}.start_time, {r}.expected_start_time) < :{cutoff}))"
)
_UNFINISHED = "({r}.state_type IS NULL OR {r}.state_type IN ({unfinished}))"

# Among the flow runs that go, as `candidates.find` found them.
_CANDIDATE = "EXISTS (SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = {id})"

_RUN_GOES = "(r.state_type IN ({states}) AND {old} AND r.id NOT IN ({own}))"

# A finished task run may go before its flow run, but not while that run is unfinished, and not
# when a subflow that stays hangs on it.
_TASK_RUN_GOES = """(
    t.state_type IN ({terminal}) AND {old}
    AND NOT EXISTS (SELECT 1 FROM flow_run f WHERE f.id = t.flow_run_id AND {unfinished_f})
    AND NOT EXISTS (SELECT 1 FROM flow_run c WHERE c.parent_task_run_id = t.id {unless_candidate})
)"""

# Of an unfinished flow run: the row names the run itself, or only one of its task runs.
_LIVE = (
    "EXISTS (SELECT 1 FROM flow_run f WHERE f.id = {x}.flow_run_id AND {unfinished_f})",
    """({x}.flow_run_id IS NULL AND {x}.task_run_id IS NOT NULL AND EXISTS (
        SELECT 1 FROM task_run t JOIN flow_run f ON f.id = t.flow_run_id
        WHERE t.id = {x}.task_run_id AND {unfinished_f}))""",
)
# The same, negated and with the common half as an anti-join of its own, which is what lets the
# planner hash the few unfinished runs instead of probing once a row.
_NOT_LIVE = """
    NOT EXISTS (SELECT 1 FROM flow_run f WHERE f.id = {x}.flow_run_id AND {unfinished_f})
    AND ({x}.flow_run_id IS NOT NULL OR {x}.task_run_id IS NULL OR NOT EXISTS (
        SELECT 1 FROM task_run t JOIN flow_run f ON f.id = t.flow_run_id
        WHERE t.id = {x}.task_run_id AND {unfinished_f}))
"""

# Hops from one distinct run to the next along the index instead of reading every log.
_GONE_FLOW_RUNS = """
hop(id) AS (
    SELECT (SELECT l.flow_run_id FROM log l WHERE l.flow_run_id IS NOT NULL
            ORDER BY l.flow_run_id LIMIT 1)
    UNION ALL
    SELECT (SELECT l.flow_run_id FROM log l WHERE l.flow_run_id > h.id
            ORDER BY l.flow_run_id LIMIT 1)
    FROM hop h WHERE h.id IS NOT NULL
),
gone_run(id) AS MATERIALIZED (
    SELECT h.id FROM hop h
    WHERE h.id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM flow_run p WHERE p.id = h.id)
)
"""
# Logs of task runs that never had a flow run are few, and an index leads to them.
_GONE_TASK_RUNS = """
gone_run(id) AS MATERIALIZED (
    SELECT DISTINCT l.task_run_id FROM log l
    WHERE l.flow_run_id IS NULL AND l.task_run_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM task_run p WHERE p.id = l.task_run_id)
)
"""


@dataclass(frozen=True)
class Rules:
    """The policy as SQL conditions.

    Attributes:
        states: terminal states in the policy.
        unfinished: every state that is not terminal, those of a newer Prefect included.
        own: flow runs that must stay whatever their state: the maintenance run itself.
    """

    states: tuple[str, ...]
    unfinished: tuple[str, ...] = UNFINISHED_STATES
    own: tuple[str, ...] = ()

    @property
    def run_goes(self) -> str:
        """Flow run `r` goes by itself; its relatives are not asked. Binds :flow_runs."""
        return _RUN_GOES.format(
            states=_words(self.states), old=old("r", "flow_runs"), own=_words(self.own) or "NULL"
        ).replace("AND r.id NOT IN (NULL)", "")

    def task_run_goes(self, *, after_runs: bool) -> str:
        """Task run `t` goes by itself. Binds :task_runs.

        Args:
            after_runs: the candidates among the flow runs are still there and count as gone.
        """
        goes = _TASK_RUN_GOES.format(
            terminal=_words(TERMINAL_STATES),
            old=old("t", "task_runs"),
            unfinished_f=self.is_unfinished("f"),
            unless_candidate=f"AND NOT {_CANDIDATE.format(id='c.id')}" if after_runs else "",
        )
        if not after_runs:
            return goes
        return f"({goes} AND NOT {_CANDIDATE.format(id='t.flow_run_id')})"

    def is_unfinished(self, alias: str) -> str:
        """Run `alias` has not reached a terminal state."""
        return _UNFINISHED.format(r=alias, unfinished=_words(self.unfinished))

    def live(self, alias: str) -> str:
        """Row `alias` (a log or an artifact) belongs to an unfinished flow run."""
        return f"({' OR '.join(self._live(alias))})"

    def keeps(self, table: Table, among: str = "") -> tuple[str, ...]:
        """Conditions on `x`, exclusive of each other: rows that a purge by age keeps.

        Apart from each other, because each can use an index of its own. Bind :cutoff.

        Args:
            table: it is purged by age.
            among: narrows the unfinished flow runs `f` whose rows stay; begins with AND.
        """
        young = f"x.{table.age} >= :cutoff"
        if table.name != "log":
            return (young,)
        live = self._live("x", among)
        return (young, *(f"x.{table.age} < :cutoff AND {one}" for one in live))

    def _live(self, alias: str, among: str = "") -> tuple[str, ...]:
        unfinished = f"{self.is_unfinished('f')} {among}"
        return tuple(part.format(x=alias, unfinished_f=unfinished) for part in _LIVE)

    def not_live(self, alias: str) -> str:
        """Row `alias` (a log or an artifact) belongs to no unfinished flow run."""
        return _NOT_LIVE.format(x=alias, unfinished_f=self.is_unfinished("f"))

    def aged(self, table: str) -> str:
        """Row `x` of a table that is purged by age alone may go; its age is asked apart."""
        return self.not_live("x") if table == "log" else "TRUE"


def old(alias: str, cutoff: str) -> str:
    """Run `alias` is older than the bound cutoff."""
    return _OLD.format(r=alias, cutoff=cutoff)


def gone_runs(column: str) -> str:
    """CTEs that end in gone_run(id): runs that logs name in a column and that are not there."""
    return _GONE_FLOW_RUNS if column == "flow_run_id" else _GONE_TASK_RUNS


def listed(ids: Iterable[str]) -> str:
    """Write ids that came out of the database as an SQL list."""
    return f"({_words(ids)})"


def _words(values: Iterable[str]) -> str:
    """Quote words that were checked against a list or are ids; nothing else comes here."""
    return ", ".join(f"'{value}'" for value in values)


# --- counts of the plan ------------------------------------------------------------------------

COUNT_RUNS = """
SELECT
    (SELECT count(*) FROM prefect_maintenance_candidate),
    (SELECT count(*) FROM flow_run_state s
     JOIN prefect_maintenance_candidate d ON d.id = s.flow_run_id),
    (SELECT count(*) FROM flow_run_input i
     JOIN prefect_maintenance_candidate d ON d.id = i.flow_run_id),
    (SELECT count(*) FROM task_run t JOIN prefect_maintenance_candidate d ON d.id = t.flow_run_id),
    (SELECT count(*) FROM task_run_state s JOIN task_run t ON t.id = s.task_run_id
     JOIN prefect_maintenance_candidate d ON d.id = t.flow_run_id)
"""

RUN_TABLES = ("flow_run", "flow_run_state", "flow_run_input", "task_run", "task_run_state")

# Logs of runs that go now, apart from those that go by their own age before the runs do.
COUNT_RUN_LOGS = """
SELECT count(*) FROM log x JOIN prefect_maintenance_candidate d ON d.id = x.flow_run_id
WHERE NOT (:purged AND x.timestamp < :logs)
"""

# Logs of task runs that go by themselves.
COUNT_TASK_LOGS = """
SELECT count(*) FROM task_run t JOIN log x ON x.task_run_id = t.id
WHERE {goes} AND NOT (:purged AND x.timestamp < :logs)
  AND NOT EXISTS (SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = x.flow_run_id)
"""

# Logs that name no flow run, once their task run has gone with its own.
COUNT_STRAY_LOGS = """
SELECT count(*) FROM log x LEFT JOIN task_run t ON t.id = x.task_run_id
WHERE x.flow_run_id IS NULL AND x.task_run_id IS NOT NULL AND x.timestamp < :orphans AND (
    (t.id IS NULL AND NOT :purged) OR (NOT (:purged AND x.timestamp < :logs)
        AND EXISTS (SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = t.flow_run_id)))
"""

COUNT_TASK_RUNS = """
SELECT count(*), (
    SELECT count(*) FROM task_run_state s JOIN task_run t ON t.id = s.task_run_id WHERE {goes})
FROM task_run t WHERE {goes}
"""

COUNT_ARTIFACTS = """
SELECT count(*) FROM artifact x WHERE x.created < :artifacts AND {not_live}
"""

# Collections whose every artifact goes.
COUNT_COLLECTIONS = """
SELECT count(*) FROM artifact_collection c
WHERE EXISTS (SELECT 1 FROM artifact x WHERE x.key = c.key)
  AND NOT EXISTS (
    SELECT 1 FROM artifact x
    WHERE x.key = c.key AND (x.created < :artifacts AND {not_live}) IS NOT TRUE)
"""

COUNT_ROWS = "SELECT count(*) FROM {table} x WHERE {condition}"

# Logs that outlived their run and are not old enough to go by age.
COUNT_GONE_LOGS = """
SELECT count(*) FROM log x JOIN gone_run g ON g.id = x.{column}
WHERE x.timestamp < :orphans AND x.timestamp >= :logs {only}
"""

COUNT_GONE_RESOURCES = """
SELECT count(*) FROM event_resources x
WHERE x.occurred >= :events AND NOT EXISTS (
    SELECT 1 FROM events e WHERE e.id = x.event_id AND e.occurred >= :events)
"""

# Children whose parent is gone, where no foreign key saw to it.
COUNT_UNFORCED = "SELECT count(*) FROM {table} x WHERE {orphaned}"
ORPHANED = "NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.id = x.{column})"

COUNT_EMPTY_COLLECTIONS = """
SELECT count(*) FROM artifact_collection c
WHERE NOT EXISTS (SELECT 1 FROM artifact x WHERE x.key = c.key)
"""

# Why flow runs older than their cutoff stay.
KEPT_RUNS = """
SELECT CASE
    WHEN {unfinished} THEN COALESCE('state ' || {state} || ' is not finished', 'it has no state')
    WHEN r.state_type NOT IN ({states}) THEN 'state ' || {state} || ' is not in the policy'
    WHEN {goes} IS NOT TRUE THEN 'it is the maintenance run itself'
    ELSE 'its tree of subflows holds a run that stays' END AS why, count(*)
FROM flow_run r
WHERE {old} AND NOT EXISTS (SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = r.id)
GROUP BY why ORDER BY why
"""


def kept_runs(rules: Rules) -> str:
    """Group the flow runs that are old enough and stay by the reason. Binds :flow_runs."""
    return KEPT_RUNS.format(
        unfinished=rules.is_unfinished("r"),
        state="CAST(r.state_type AS VARCHAR)",
        states=_words(rules.states),
        goes=rules.run_goes,
        old=old("r", "flow_runs"),
    )


# --- what is to be deleted, laid down in a temporary table in the order of deletion ----------

WORKLIST_OF_RUNS = """
CREATE TEMPORARY TABLE prefect_maintenance_worklist AS
SELECT row_number() OVER (
           ORDER BY COALESCE(top.end_time, top.state_timestamp, top.start_time,
                             top.expected_start_time), COALESCE(o.top, d.id), d.id) AS position,
       d.id AS id, COALESCE(o.top, d.id) AS top,
       r.end_time IS NOT NULL AND r.parent_task_run_id IS NULL
           AND NOT EXISTS (SELECT 1 FROM task_run t WHERE t.flow_run_id = d.id) AS single
FROM prefect_maintenance_candidate d
JOIN flow_run r ON r.id = d.id
LEFT JOIN prefect_maintenance_tree o ON o.id = d.id
LEFT JOIN flow_run top ON top.id = COALESCE(o.top, d.id)
"""

WORKLIST_OF_ROWS = """
CREATE TEMPORARY TABLE prefect_maintenance_worklist AS
{ctes}
SELECT row_number() OVER (ORDER BY {alias}.{order}) AS position, {alias}.id AS id
FROM {table} {alias} WHERE {goes}
"""

INDEX_WORKLIST = (
    "CREATE UNIQUE INDEX prefect_maintenance_at ON prefect_maintenance_worklist (position)"
)
INDEX_WORKLIST_TOP = "CREATE INDEX prefect_maintenance_top ON prefect_maintenance_worklist (top)"
DROP_WORKLIST = "DROP TABLE IF EXISTS prefect_maintenance_worklist"

# What leaves the database with the objects of a batch, themselves first: by table, which rows.
_LEAVES_WITH = {
    "flow_run": {
        "flow_run": "flow_run x WHERE x.id IN {ids}",
        "flow_run_state": "flow_run_state x WHERE x.flow_run_id IN {ids}",
        "flow_run_input": "flow_run_input x WHERE x.flow_run_id IN {ids}",
        "task_run": "task_run x WHERE x.flow_run_id IN {ids}",
        "task_run_state": "task_run_state x JOIN task_run t ON t.id = x.task_run_id "
        "WHERE t.flow_run_id IN {ids}",
        "log": "log x WHERE x.flow_run_id IN {ids}",
    },
    "task_run": {
        "task_run": "task_run x WHERE x.id IN {ids}",
        "task_run_state": "task_run_state x WHERE x.task_run_id IN {ids}",
        "log": "log x WHERE x.task_run_id IN {ids}",
    },
    "artifact": {"artifact": "artifact x WHERE x.id IN {ids}"},
}


def count_leaving(table: str, ids: Iterable[str], *, but: Iterable[str] = ()) -> str:
    """Count by table what leaves with objects of a table.

    Args:
        table: of the objects.
        ids: of the objects.
        but: tables that are not asked about.
    """
    listed_ids, left_out = listed(ids), set(but)
    counts = (
        f"(SELECT count(*) FROM {rows.format(ids=listed_ids)}) AS {name}"
        for name, rows in _LEAVES_WITH[table].items()
        if name not in left_out
    )
    return f"SELECT {', '.join(counts)}"


def orphaned(table: Table) -> str:
    """Row `x` of a table names a parent that is gone."""
    parent = table.parents[0]
    return ORPHANED.format(parent=parent.table, column=parent.column)


# --- deletion by SQL ---------------------------------------------------------------------------

POSTGRESQL_INDEXED = """
SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
                                                   AND a.attnum = i.indkey[0]
WHERE i.indrelid = to_regclass(:t) AND i.indisvalid AND i.indpred IS NULL AND a.attname = :c
"""
SQLITE_INDEXED = """
SELECT count(*) FROM sqlite_master m JOIN pragma_index_info(m.name) i
WHERE m.type = 'index' AND m.tbl_name = :t AND i.seqno = 0 AND i.name = :c
  AND COALESCE(m.sql, '') NOT LIKE '% WHERE %'
"""
HEAP_PAGES = "SELECT pg_relation_size(to_regclass(:t)) / current_setting('block_size')::int"
HEAP_SAMPLE = """
SELECT count(*), count(DISTINCT (x.ctid::text::point)[0])
FROM {table} x TABLESAMPLE SYSTEM (:percent) REPEATABLE (0)
"""

DELETE_LISTED = """
DELETE FROM {table} AS x WHERE x.id IN (
    SELECT d.id FROM prefect_maintenance_worklist d WHERE d.position BETWEEN :first AND :last)
AND {goes}
"""
_GONE_LOGS = """
x.{column} IN (
    SELECT d.id FROM prefect_maintenance_worklist d WHERE d.position BETWEEN :first AND :last)
AND x.timestamp < :orphans {only}
AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.id = x.{column})
"""
# Logs `x` of the gone runs of a batch.
GONE_LOGS = {
    "flow_run_id": _GONE_LOGS.format(column="flow_run_id", parent="flow_run", only=""),
    "task_run_id": _GONE_LOGS.format(
        column="task_run_id", parent="task_run", only="AND x.flow_run_id IS NULL"
    ),
}

_STALE = "NOT EXISTS (SELECT 1 FROM artifact a WHERE a.id = artifact_collection.latest_id)"
_LATEST = "SELECT 1 FROM artifact a WHERE a.key = artifact_collection.key"
LOCK_STALE_COLLECTIONS = f"SELECT id FROM artifact_collection WHERE {_STALE} FOR UPDATE"
# The collection repeats the columns of its newest artifact.
REPOINT_COLLECTIONS = f"""
UPDATE artifact_collection SET
    (latest_id, task_run_id, flow_run_id, type, data, description, metadata_, updated) = (
        SELECT a.id, a.task_run_id, a.flow_run_id, a.type, a.data, a.description, a.metadata_,
               :now
        FROM artifact a WHERE a.key = artifact_collection.key
        ORDER BY a.created DESC, a.id DESC LIMIT 1)
WHERE {_STALE} AND EXISTS ({_LATEST})
"""
DELETE_COLLECTIONS = f"DELETE FROM artifact_collection WHERE {_STALE} AND NOT EXISTS ({_LATEST})"


# --- around the deletion through the API -------------------------------------------------------

SURVIVORS = "SELECT CAST(x.id AS VARCHAR) FROM {table} x WHERE x.id IN {ids}"
DELETE_BY_ID = "DELETE FROM {table} WHERE id IN {ids}"
LOGS_OF_GONE = (
    "x.{table}_id IN {ids} AND NOT EXISTS (SELECT 1 FROM {table} p WHERE p.id = x.{table}_id)"
)
WORKLIST_LEFT = "SELECT count(*) FROM prefect_maintenance_worklist d JOIN {table} x ON x.id = d.id"
KEYS_OF_WORKLIST = """
CREATE TEMPORARY TABLE prefect_maintenance_keys AS
SELECT DISTINCT x.key AS key FROM artifact x JOIN prefect_maintenance_worklist d ON d.id = x.id
"""
DROP_KEYS = "DROP TABLE IF EXISTS prefect_maintenance_keys"
COLLECTIONS_OF_KEYS = """
SELECT count(*) FROM artifact_collection c
WHERE c.key IN (SELECT k.key FROM prefect_maintenance_keys k)
"""
