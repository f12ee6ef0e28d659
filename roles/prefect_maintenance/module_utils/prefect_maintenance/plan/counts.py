"""The statements that count what goes and what stays, for the plan.

All of it runs on PostgreSQL and SQLite. `prefect_maintenance_candidate` has the flow runs that go,
as `candidates.find` found them.
"""

from __future__ import annotations

from ..catalogue import FLOW_RUN, TASK_RUN
from .hanging import cascading
from .rules import Rules
from .words import old, words

_HANGING = tuple(cascading(FLOW_RUN))
RUN_TABLES = (FLOW_RUN.name, *(hanging.table.name for hanging in _HANGING))
_OF_CANDIDATES = (
    "(SELECT count(*) FROM {h.rows} JOIN prefect_maintenance_candidate d ON d.id = {h.key})"
)
COUNT_RUNS = "SELECT " + ", ".join(
    (
        "(SELECT count(*) FROM prefect_maintenance_candidate)",
        *(_OF_CANDIDATES.format(h=hanging) for hanging in _HANGING),
    )
)

# Flow run `r` has an end time, no task runs and no parent: the API can be told what guards that,
# and there is nothing on which another run could be hung meanwhile.
SINGLE = """r.end_time IS NOT NULL AND r.parent_task_run_id IS NULL
           AND NOT EXISTS (SELECT 1 FROM task_run t WHERE t.flow_run_id = r.id)"""
# The API cannot be told that a run must not have a certain tag, only that it has none.
_UNTAGGED = f"{SINGLE} AND r.tags = '[]'"
_COUNT_SINGLES = """
SELECT count(*) FROM prefect_maintenance_candidate d JOIN flow_run r ON r.id = d.id WHERE {single}
"""


def single(rules: Rules) -> str:
    """Flow run `r` can go through the API, which can be told all that guards it."""
    return _UNTAGGED if rules.ask_tags else SINGLE


def count_singles(rules: Rules) -> str:
    """Count the candidates that can go through the API."""
    return _COUNT_SINGLES.format(single=single(rules))


# Logs of runs that go now, apart from those that go by their own age before the runs do.
COUNT_RUN_LOGS = """
SELECT count(*) FROM log x JOIN prefect_maintenance_candidate d ON d.id = x.flow_run_id
WHERE NOT (:purged AND {aged})
"""

# Logs of task runs that go by themselves.
COUNT_TASK_LOGS = """
SELECT count(*) FROM task_run t JOIN log x ON x.task_run_id = t.id {decided}
WHERE {goes} AND NOT (:purged AND {aged})
  AND NOT EXISTS (SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = x.flow_run_id)
"""

# Logs that name no flow run, once their task run has gone with its own.
COUNT_STRAY_LOGS = """
SELECT count(*) FROM log x LEFT JOIN task_run t ON t.id = x.task_run_id {decided}
WHERE x.flow_run_id IS NULL AND x.task_run_id IS NOT NULL AND x.timestamp < :orphans AND (
    (t.id IS NULL AND NOT :purged) OR (NOT (:purged AND {aged})
        AND EXISTS (SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = t.flow_run_id)))
"""

# The rule that decides about the flow run of log `x` or of its task run `t`.
DECIDED = """LEFT JOIN prefect_maintenance_decided c
    ON c.id = COALESCE(x.flow_run_id, t.flow_run_id)"""

# Task runs that go by themselves, and what foreign keys take along with them.
_OF_TASK_RUNS = (
    "(SELECT count(*) FROM {h.rows} JOIN {table} t ON t.id = {h.key} WHERE {{goes}}) "
    "AS {h.table.name}"
)
COUNT_TASK_RUNS = (
    ", ".join(
        (
            f"SELECT count(*) AS {TASK_RUN.name}",
            *(_OF_TASK_RUNS.format(h=each, table=TASK_RUN.name) for each in cascading(TASK_RUN)),
        )
    )
    + f" FROM {TASK_RUN.name} t WHERE {{goes}}"
)

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
WHERE x.timestamp < :orphans AND {stays} {only}
"""

# The same by asking every log that is young enough, which takes less where they are few.
COUNT_YOUNG_GONE_LOGS = """
SELECT count(*) FROM log x
WHERE x.timestamp < :orphans AND {stays} AND x.{column} IS NOT NULL {only}
  AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.id = x.{column})
"""

COUNT_GONE_RESOURCES = """
SELECT count(*) FROM event_resources x
WHERE x.occurred >= :events AND NOT EXISTS (
    SELECT 1 FROM events e WHERE e.id = x.event_id AND e.occurred >= :events)
"""

# Children whose parent is gone, where no foreign key saw to it.
COUNT_UNFORCED = "SELECT count(*) FROM {table} x WHERE {orphaned}"

COUNT_EMPTY_COLLECTIONS = """
SELECT count(*) FROM artifact_collection c
WHERE NOT EXISTS (SELECT 1 FROM artifact x WHERE x.key = c.key)
"""

# Why flow runs older than their cutoff stay, in the words of `Kept.reason`.
KEPT_RUNS = """
SELECT k.reason, CASE WHEN k.reason IN ('unfinished', 'policy') THEN k.state END, count(*)
FROM (
    SELECT {state} AS state, CASE
        WHEN {unfinished} THEN CASE WHEN {state} IS NULL THEN 'no_state' ELSE 'unfinished' END
        WHEN r.state_type NOT IN ({states}) THEN 'policy'
        WHEN {goes} IS NOT TRUE THEN 'itself'
        ELSE 'tree' END AS reason
    FROM flow_run r
    WHERE {old} AND NOT EXISTS (
        SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = r.id)) k
GROUP BY 1, 2
"""
BECAUSE = {
    "no_state": "it has no state",
    "unfinished": "state {state} is not finished",
    "policy": "state {state} is not in the policy",
    "itself": "it is the maintenance run itself",
    "tree": "its tree of subflows holds a run that stays",
}


def kept_runs(rules: Rules) -> str:
    """Count the flow runs that are old enough and stay by reason and state. Binds :flow_runs.

    The state is that of `BECAUSE`, or nothing where the reason names none.
    """
    return KEPT_RUNS.format(
        unfinished=rules.is_unfinished("r"),
        state="CAST(r.state_type AS VARCHAR)",
        states=words(rules.states),
        goes=rules.run_goes,
        old=old("r", "flow_runs"),
    )
