"""How many logs go and stay by rules, read once: by the rule, by their flow run, and orphans.

The flow run of each log is looked up by one join, in which the rule that decides about the run is
known too; asking log by log would take several times as long.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..catalogue import LOG
from ..database.connection import Database
from ..request.policy import Cutoffs
from .dated_counts import Decided, nothing_yet
from .joins import without
from .log_rules import decide_logs
from .rules import Rules
from .words import finite

_COUNT = f"""
SELECT n.rule, n.goes, n.live, n.gone, n.old, count(*), min(n.at), max(n.at) FROM (
    SELECT {{number}} AS rule, ({{goes}}) IS TRUE AS goes, r.live IS TRUE AS live,
           ({{within}} AND x.{LOG.age} < :orphans AND x.names_one AND r.id IS NULL) IS TRUE AS gone,
           x.{LOG.age} < :{{general}} AS old, {{finite}} AS at
    FROM (
        SELECT x.level, x.name, x.timestamp, x.flow_run_id AS run, TRUE AS names_one
        FROM {LOG.name} x WHERE x.flow_run_id IS NOT NULL
        UNION ALL
        SELECT x.level, x.name, x.timestamp, t.flow_run_id,
               x.task_run_id IS NOT NULL AND t.id IS NULL
        FROM {LOG.name} x LEFT JOIN task_run t ON t.id = x.task_run_id WHERE x.flow_run_id IS NULL
    ) x LEFT JOIN ({{runs}}) r ON r.id = x.run) n
GROUP BY n.rule, n.goes, n.live, n.gone, n.old
"""
_RUN = "r.id AS id, {rule} AS rule, {unfinished} AS live"
# A list beside OR is gone through again for every run once it is long; a join is not.
_OR_HELD = """
SELECT r.id, r.rule, r.live OR h.id IS NOT NULL AS live FROM ({runs}) r
LEFT JOIN (SELECT DISTINCT m.id FROM prefect_maintenance_held m) h ON h.id = r.id
"""


def count_logs(
    database: Database, rules: Rules, cutoffs: Cutoffs
) -> tuple[Mapping[int, Decided], int]:
    """Count the logs that go by the rule that decides, and those that stay.

    Returns:
        What each rule does, and how many logs go although rules keep them: their run is gone.
    """
    dated = rules.dated_by(LOG).asking("r.rule")
    sql = _COUNT.format(
        number=dated.number("x"),
        goes=dated.goes("x"),
        general=dated.general,
        within=dated.within("x") or "TRUE",
        finite=finite(f"x.{LOG.age}"),
        runs=_runs(rules),
    )
    found, orphans = nothing_yet(dated), 0
    values = {**rules.values(LOG, cutoffs), "orphans": cutoffs.orphans}
    # How many kinds of runs there are is known to nobody beforehand, and sorting takes longer.
    with without(database, "mergejoin", "sort"):
        counted = database.rows(sql, **values)
    for rule, goes, live, gone, old, rows, *ends in counted:
        if goes and live:
            found[rule].spare(rows)
            continue
        found[rule].note(rows, goes=goes, old=old, ends=(ends[0], ends[1]))
        orphans += rows if gone and not goes else 0
    return found, orphans


def _runs(rules: Rules) -> str:
    """Select the flow runs with the rule that decides about their logs, and whether these stay."""
    unfinished = rules.is_unfinished("r")
    if decide_logs(rules.runs):
        runs = rules.runs.with_kinds(_RUN.format(rule="k.rule", unfinished=unfinished))
    else:
        runs = f"SELECT {_RUN.format(rule='NULL', unfinished=unfinished)} FROM flow_run r"
    return _OR_HELD.format(runs=runs) if rules.holds.listed else runs
