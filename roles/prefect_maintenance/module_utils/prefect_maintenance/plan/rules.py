"""Which rows go: the rules of the policy as conditions in SQL, each written once.

All of it runs on PostgreSQL and SQLite. Names in braces are filled in by `Rules` from checked words
only; values are bound.

A row's age counts from the first of end_time, state_timestamp, start_time and
expected_start_time that is set: before Prefect 3.6.14 a run that ended without having started
has no end_time (PrefectHQ/prefect commit c4a4a7e199).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..catalogue import BY_NAME, Table
from ..request.policy import UNFINISHED_STATES, Cutoffs
from ..request.rules import TERMINAL_STATES
from .dated_rules import Aged, DatedRules
from .holds import HELD, Holds
from .run_rules import RunRules
from .words import age, listed, old, words

_UNFINISHED = "({r}.state_type IS NULL OR {r}.state_type IN ({unfinished}))"

# Among the flow runs that go, as `candidates.find` found them.
_CANDIDATE = "EXISTS (SELECT 1 FROM prefect_maintenance_candidate d WHERE d.id = {id})"

_RUN_GOES = "r.state_type IN ({states}) AND {old}"
# What a list of the newest was made from is still so.
_UNCHANGED = """CAST(r.state_type AS VARCHAR) = m.state
    AND ({age} = m.age OR (m.age IS NULL AND {age} IS NULL))"""

# A finished task run may go before its flow run, but not while that run is unfinished or held, and
# not when a subflow that stays hangs on it.
_TASK_RUN_GOES = """(
    t.state_type IN ({terminal}) AND {old} AND {not_live}
    AND NOT EXISTS (SELECT 1 FROM flow_run c WHERE c.parent_task_run_id = t.id {unless_candidate})
)"""

# Of a flow run that is unfinished or held: the row names the run itself, or only one of its task
# runs.
_LIVE = (
    "EXISTS (SELECT 1 FROM flow_run f WHERE f.id = {x}.flow_run_id AND {live_f})",
    """({x}.flow_run_id IS NULL AND {x}.task_run_id IS NOT NULL AND EXISTS (
        SELECT 1 FROM task_run t JOIN flow_run f ON f.id = t.flow_run_id
        WHERE t.id = {x}.task_run_id AND {live_f}))""",
)
_LIVE_AMONG = (
    "{x}.flow_run_id IN ({runs})",
    """({x}.flow_run_id IS NULL AND {x}.task_run_id IN (
        SELECT t.id FROM task_run t WHERE t.flow_run_id IN ({runs})))""",
)
# Row `x` names no flow run, and its task run none that is unfinished or held.
_NOT_LIVE_BY_TASK = """({x}.task_run_id IS NULL OR NOT EXISTS (
        SELECT 1 FROM task_run t JOIN flow_run f ON f.id = t.flow_run_id
        WHERE t.id = {x}.task_run_id AND {live_f}))"""
_NO_LIVE_RUN = "NOT EXISTS (SELECT 1 FROM flow_run f WHERE f.id = {id} AND {live_f})"

# Its parent is gone.
_ORPHANED = "NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.id = x.{column})"


@dataclass(frozen=True)
class Rules:
    """The policy as SQL conditions.

    Attributes:
        states: terminal states in the policy.
        unfinished: every state that is not terminal, those of a newer Prefect included.
        own: flow runs that must stay whatever their state: the maintenance run itself.
        runs: what decides about flow runs before the policy does.
        holds: what keeps flow runs, and all that belongs to them, whatever decides.
        dated: rules for tables that are purged by age, by table.
        ended: flow runs that this step itself has ended; what belongs to them was planned to stay.
    """

    states: tuple[str, ...]
    unfinished: tuple[str, ...] = UNFINISHED_STATES
    own: tuple[str, ...] = ()
    runs: RunRules = field(default_factory=RunRules)
    holds: Holds = field(default_factory=Holds)
    dated: Mapping[str, DatedRules] = field(default_factory=dict)
    ended: tuple[str, ...] = ()

    @property
    def ask_tags(self) -> bool:
        """Whether tags decide about a run: those of a rule, or some that hold are there."""
        return bool(self.holds.there) or self.runs.ask_tags

    @property
    def bound(self) -> dict[str, Any]:
        """The values that conditions bind beside the cutoffs of the policy."""
        return {**self.runs.bound, **self.holds.bound}

    @property
    def now(self) -> Rules:
        """The same rules, by which runs are asked for their holds and rules as they are now."""
        return replace(self, holds=self.holds.now, dated=self._dated_now)

    @property
    def for_reading(self) -> Rules:
        """The same rules where nothing may be laid down; those that were may stay in use."""
        holds = self.holds if self.holds.since or self.holds.there else Holds()
        return replace(self, holds=holds, dated=self._dated_now)

    @property
    def watched(self) -> Rules:
        """The same rules, by which holds that came since they were laid down count too.

        For statements over many rows, in which `now` would look at every run.
        """
        return replace(self, holds=self.holds.watched, dated=self._dated_now)

    @property
    def _dated_now(self) -> dict[str, DatedRules]:
        return {table: rules.as_now for table, rules in self.dated.items()}

    @property
    def run_goes(self) -> str:
        """Flow run `r` goes, ranks aside; its relatives are not asked. Binds :flow_runs."""
        return self._run_goes(self.runs.goes("r", self._of_policy))

    def decided_run_goes(self, rule: str) -> str:
        """The same where it is known which rule decides, 0 where none does."""
        return self._run_goes(self.runs.not_kept(rule, age("r"), self._of_policy))

    @property
    def _of_policy(self) -> str:
        return _RUN_GOES.format(states=words(self.states), old=old("r", "flow_runs"))

    def _run_goes(self, goes: str) -> str:
        if self.runs:
            old_enough = self.runs.old_enough("r", old("r", "flow_runs"))
            goes = f"r.state_type IN ({words(TERMINAL_STATES)}) AND {old_enough} AND {goes}"
        if self.own:
            goes += f" AND r.id NOT IN ({words(self.own)})"
        if held := self.holds.of("r"):
            goes += f" AND {held} IS NOT TRUE"
        return f"({goes})"

    @property
    def run_still_goes(self) -> str:
        """Flow run `r`, listed as `m`, goes as it is now, by the same rule. Binds :flow_runs."""
        goes = self.now.run_goes
        if self.runs:
            goes = f"({goes} AND {self.runs.rule_of('r')} = m.rule)"
        if self.runs.ranked:
            goes = f"({goes} AND {_UNCHANGED.format(age=age('r'))})"
        return goes

    def task_run_goes(self, *, after_runs: bool) -> str:
        """Task run `t` goes by itself. Binds :task_runs.

        Args:
            after_runs: the candidates among the flow runs are still there and count as gone.
        """
        goes = _TASK_RUN_GOES.format(
            terminal=words(TERMINAL_STATES),
            old=old("t", "task_runs"),
            not_live=self._no_live_run("t.flow_run_id"),
            unless_candidate=f"AND NOT {_CANDIDATE.format(id='c.id')}" if after_runs else "",
        )
        if not after_runs:
            return goes
        return f"({goes} AND NOT {_CANDIDATE.format(id='t.flow_run_id')})"

    def is_unfinished(self, alias: str) -> str:
        """Run `alias` has not reached a terminal state, or only by this step."""
        unfinished = _UNFINISHED.format(r=alias, unfinished=words(self.unfinished))
        if self.ended:
            unfinished = f"({unfinished} OR {alias}.id IN {listed(self.ended)})"
        return unfinished

    def is_live(self, alias: str) -> str:
        """Run `alias` is unfinished or held, so that all that belongs to it stays."""
        held = self.holds.of(alias)
        return f"({self.is_unfinished(alias)} OR {held})" if held else self.is_unfinished(alias)

    @property
    def woken(self) -> str:
        """Select the runs that are unfinished, or have come to be held since :held_since."""
        unfinished = f"SELECT f.id FROM flow_run f WHERE {self.is_unfinished('f')}"
        gained = self.holds.gained
        return f"{unfinished} UNION ALL {gained}" if gained else unfinished

    def dated_by(self, table: Table) -> DatedRules:
        """Return the rules for a table that is purged by age."""
        return self.dated.get(table.name) or DatedRules(str(table.age))

    def values(self, table: Table, cutoffs: Cutoffs) -> dict[str, Any]:
        """Return what `keeps`, `aged` and the slices of a purge by age bind.

        Rows from :cutoff on stay whatever rule fits them.
        """
        dated = self.dated_by(table).values(getattr(cutoffs, str(table.entity)))
        return {**self.bound, **dated}

    def keeps(self, table: Table) -> tuple[str, ...]:
        """Conditions on `x`, exclusive of each other: rows that a purge by age keeps.

        Apart from each other, because each can use an index of its own. Bind `values`.
        """
        dated = self.dated_by(table)
        young = dated.stays("x")
        if not table.of_run:
            return (young,)
        return (young, *(f"{dated.goes('x')} AND {one}" for one in self.live("x")))

    def of_runs(self, table: Table, runs: str) -> tuple[str, ...]:
        """Conditions on `x`, exclusive of each other: old rows of runs, as their task runs too.

        Args:
            table: it is purged by age.
            runs: a table with the ids of the runs.
        """
        if not table.of_run:
            return ()
        ids = f"SELECT v.id FROM {runs} v"
        parts = (part.format(x="x", runs=ids) for part in _LIVE_AMONG)
        return tuple(f"x.{table.age} < :cutoff AND {part}" for part in parts)

    def live(self, alias: str) -> tuple[str, ...]:
        """Conditions, exclusive of each other, that an unfinished or held run has row `alias`.

        The row is a log or an artifact. A list of runs beside OR would be gone through again for
        every row once it is long.
        """
        if self.holds.listed:
            runs = f"SELECT f.id FROM flow_run f WHERE {self.is_unfinished('f')}"
            runs += " UNION SELECT h.id FROM prefect_maintenance_held h"
            return tuple(part.format(x=alias, runs=runs) for part in _LIVE_AMONG)
        return tuple(part.format(x=alias, live_f=self.is_live("f")) for part in _LIVE)

    def not_live(self, alias: str) -> str:
        """Row `alias` (a log or an artifact) belongs to no flow run that is unfinished or held."""
        of_run, of_task = self._not_live(alias)
        return f"{of_run} AND ({alias}.flow_run_id IS NOT NULL OR ({of_task}))"

    def _not_live(self, alias: str) -> tuple[str, str]:
        """The same of a row that names its flow run, and of one that does not."""
        of_task = _NOT_LIVE_BY_TASK.format(x=alias, live_f=self.is_live("f"))
        run = f"(SELECT t.flow_run_id FROM task_run t WHERE t.id = {alias}.task_run_id)"
        if gained := self.holds.not_gained(run):
            of_task += f" AND {gained}"
        return self._no_live_run(f"{alias}.flow_run_id"), of_task

    def _no_live_run(self, run: str) -> str:
        """The flow run of that id is neither unfinished nor held."""
        if not self.holds.since:
            return _NO_LIVE_RUN.format(id=run, live_f=self.is_live("f"))
        # Apart, so that the planner can hash the few of each kind.
        told = [_NO_LIVE_RUN.format(id=run, live_f=self.is_unfinished("f"))]
        if self.holds.listed:
            told.append(f"NOT {HELD.format(id=run)}")
        return " AND ".join((*told, *filter(None, (self.holds.not_gained(run),))))

    def aged(self, table: str) -> str:
        """Row `x` of a table that is purged by age goes by its age. Binds `values`."""
        kind = BY_NAME[table]
        goes = self.dated_by(kind).goes("x")
        return f"{goes} AND {self.not_live('x')}" if kind.of_run else goes

    def aged_apart(self, table: str) -> tuple[Aged, ...]:
        """The same for rows that name their flow run, and for those that do not.

        Beside what looks the others' task runs up one by one, a join with the few unfinished runs
        costs the planner less than one percent, and it asks each row for its run instead.
        """
        kind = BY_NAME[table]
        dated = self.dated_by(kind)
        goes = dated.goes("x")
        if not kind.of_run:
            return (Aged("TRUE", goes),)
        of_run, of_task = self._not_live("x")
        return (
            Aged("x.flow_run_id IS NOT NULL", f"{goes} AND {of_run}", joined=not dated),
            Aged("x.flow_run_id IS NULL", f"{goes} AND {of_task}"),
        )


def orphaned_rows(table: Table) -> str:
    """Row `x` of a table names a parent that is gone."""
    parent = table.parents[0]
    return _ORPHANED.format(parent=parent.table, column=parent.column)
