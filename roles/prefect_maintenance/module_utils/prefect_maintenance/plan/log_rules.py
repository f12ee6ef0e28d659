"""Rules for logs by level and logger; and what rules for flow runs say of the runs' logs."""

from __future__ import annotations

from ..catalogue import LOG
from ..database.connection import Database
from ..request.policy import Cutoffs
from ..request.rules import TERMINAL_STATES, Keep, LogRule, RunRule
from .dated_rules import Case, DatedRules, bounds, cutoff_of
from .patterns import Patterns
from .run_rules import RunRules
from .words import words

# Names the bound value that is the general cutoff.
_GENERAL = "log_cutoff_0"
# Runs that a rule decides about which has a retention of its own for their logs.
_LIST = "prefect_maintenance_run_logs"
_CREATE = (
    f"CREATE TEMPORARY TABLE {_LIST} AS SELECT r.id AS id, 0 AS rule FROM flow_run r WHERE 1 = 0"
)
_FILL = f"""
INSERT INTO {_LIST} (id, rule)
SELECT d.id, d.rule FROM ({{decided}}) d WHERE d.rule IN ({{rules}})
"""
_INDEX = f"CREATE UNIQUE INDEX {_LIST}_at ON {_LIST} (id)"

# The run of log `{x}`, by itself or by its task run.
RUN = """COALESCE({x}.flow_run_id,
    (SELECT t.flow_run_id FROM task_run t WHERE t.id = {x}.task_run_id))"""
_LISTED = f"(SELECT l.rule FROM {_LIST} l WHERE l.id = {RUN})"
_NOW = f"""(SELECT {{rule}} FROM flow_run r
    WHERE r.id = {RUN} AND r.state_type IN ({{terminal}}))"""


def log_rules(
    rules: tuple[LogRule, ...], runs: RunRules, cutoffs: Cutoffs, patterns: Patterns
) -> DatedRules:
    """Write rules for logs, and those for the logs of runs, as conditions."""
    of_runs = decide_logs(runs)
    if not rules and not of_runs:
        return DatedRules(LOG.age)
    bound: dict[str, object] = {_GENERAL: cutoffs.logs}
    cases = tuple(_case(rule, cutoffs, patterns, bound) for rule in rules)
    keeps = [rule.keep for rule in rules] + [rule.logs for rule in of_runs if rule.logs]
    until, since = bounds(keeps, cutoffs.logs, cutoffs.reference)
    otherwise = f"{{x}}.{LOG.age} < :{_GENERAL}"
    now = ""
    if of_runs:
        now = _NOW.format(rule=runs.rule_of("r"), terminal=words(TERMINAL_STATES), x="{x}")
        otherwise = _by_run(of_runs, cutoffs, bound, otherwise)
    return DatedRules(
        LOG.age, _GENERAL, cases, otherwise, _LISTED if of_runs else "", now,
        bound=bound, until=until, since=since,
    )  # fmt: skip


def stage(database: Database, runs: RunRules) -> None:
    """Lay down for this session which runs have rules with a retention of their own for logs."""
    of_runs = decide_logs(runs)
    if not of_runs:
        return
    database.run(f"DROP TABLE IF EXISTS {_LIST}")
    database.run(_CREATE)
    numbers = ", ".join(str(rule.number) for rule in of_runs)
    sql = _FILL.format(decided=runs.every_rule, rules=numbers)
    database.run(sql, **runs.bound)
    database.run(_INDEX)
    if database.is_postgresql:
        database.run(f"ANALYZE {_LIST}")


def decide_logs(runs: RunRules) -> list[RunRule]:
    """Return the rules for flow runs that have a retention of their own for the runs' logs."""
    return [rule for rule in runs.rules if rule.logs]


def _case(rule: LogRule, cutoffs: Cutoffs, patterns: Patterns, bound: dict[str, object]) -> Case:
    matched = []
    if rule.below is not None:
        matched.append(f"{{x}}.level < {rule.below:d}")
    if rule.loggers:
        fit, values = patterns.each("{x}.name", rule.loggers, f"log_name_{rule.number}")
        matched.append(fit)
        bound.update(values)
    goes = _older(rule.keep, f"log_cutoff_{rule.number}", cutoffs, bound)
    return Case(rule.number, rule.name, " AND ".join(matched), goes, rule.keep)


def _by_run(
    of_runs: list[RunRule], cutoffs: Cutoffs, bound: dict[str, object], general: str
) -> str:
    """Write that a log goes which no rule for logs fits; the run is asked where that matters."""
    keeps = [one.logs for one in of_runs if one.logs]
    bound["run_logs_until"], since = bounds(keeps, cutoffs.logs, cutoffs.reference)
    whens = [f"WHEN {{x}}.{LOG.age} >= :run_logs_until THEN FALSE"]
    if since:
        bound["run_logs_since"] = since
        whens.append(f"WHEN {{x}}.{LOG.age} < :run_logs_since THEN TRUE")
    of_rules = " ".join(
        f"WHEN {one.number} THEN {_older(one.logs, f'run_logs_{one.number}', cutoffs, bound)}"
        for one in of_runs
        if one.logs
    )
    return f"CASE {' '.join(whens)} ELSE CASE {{run}} {of_rules} ELSE {general} END END"


def _older(keep: Keep, name: str, cutoffs: Cutoffs, bound: dict[str, object]) -> str:
    """Write that log `{x}` is older than a clause keeps it."""
    cutoff = cutoff_of(keep, cutoffs.reference)
    if cutoff is None:
        return "FALSE"
    bound[name] = cutoff
    return f"{{x}}.{LOG.age} < :{name}"
