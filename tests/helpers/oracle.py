"""What must survive and what must go, as only the written contract says it.

Plain Python over dumped rows. It shares no code with the engine on purpose: what it says must go
is what DESIGN and README promise, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from oracle_rules import Ruled
from world import TABLES, TERMINAL, Dump, Policy, Row


def survivors(before: Dump, policy: Policy) -> Dump:
    """Say which rows must be left, and what the artifact collections must point to.

    Args:
        before: every row that was there; with the tables that runs belong to, where rules ask them.
        policy: what was asked for.
    """
    return _Oracle(before, policy).left()


def counted(before: Dump, policy: Policy) -> dict[tuple[str, int], tuple[int, int]]:
    """Say by kind and number of each rule how many rows it makes go, and how many it keeps.

    The general policy has the number 0 where there are rules of the kind.
    """
    oracle = _Oracle(before, policy)
    ruled = oracle._ruled
    finished = [run for run, row in oracle._runs.items() if row["state_type"] in TERMINAL]
    of_runs = [(ruled.rule_of.get(run, -1) + 1, run in oracle._going) for run in finished]
    left = oracle.left()
    of_events = [(ruled.event_rule_of.get(event, -1) + 1, event not in left["events"])
                 for event in before["events"]]  # fmt: skip
    of_resources = [(ruled.event_rule_of.get(row["event_id"], -1) + 1,
                     resource not in left["event_resources"])
                    for resource, row in before["event_resources"].items()]  # fmt: skip
    found = {}
    for kind, rules, decided in (
        ("run", policy.rules, of_runs),
        ("event", policy.event_rules, of_events),
        ("resource", policy.event_rules, of_resources),
    ):
        for number in range(len(rules) + 1) if rules else ():
            own = [goes for rule, goes in decided if rule == number]
            found[kind, number] = sum(own), len(own) - sum(own)
    return found


def of_the_engine(before: Dump) -> Dump:
    """Return the rows of the tables of which the engine may change something."""
    return {table: before[table] for table in TABLES}


def compare(found: Dump, wanted: Dump) -> None:
    """Fail where the rows that are there are not those that must be left, as they were."""
    for table, rows in wanted.items():
        assert set(found[table]) - set(rows) == set(), f"{table}: should have gone"
        assert set(rows) - set(found[table]) == set(), f"{table}: should have survived"
        if table == "artifact_collection":
            for key, row in rows.items():
                assert str(found[table][key]["latest_id"]) in row["latest_id"], key
        else:
            assert found[table] == rows, f"{table}: a survivor was changed"


@dataclass(frozen=True)
class _Oracle:
    """What the contract says of each row, from the rows that are there before."""

    before: Dump
    policy: Policy

    def left(self) -> Dump:
        left = self._runs_left
        for table, goes in (("log", self._log_goes), ("artifact", self._artifact_goes)):
            left = {**left, table: {i: r for i, r in self.before[table].items() if not goes(r)}}
        return {**left, "artifact_collection": self._collections(left), **self._events()}

    @cached_property
    def _ruled(self) -> Ruled:
        return Ruled(self.before, self.policy)

    @property
    def _runs(self) -> dict[str, Row]:
        return self.before["flow_run"]

    @property
    def _tasks(self) -> dict[str, Row]:
        return self.before["task_run"]

    def _old(self, row: Row, entity: str) -> bool:
        for column in ("end_time", "state_timestamp", "start_time", "expected_start_time"):
            if row[column] is not None:
                return bool(row[column] < self.policy.cutoff(entity))
        return False

    def _stays_whole(self, run: str | None) -> bool:
        """Whether a flow run is unfinished or held, so that nothing of it may go."""
        return run in self._runs and (
            self._runs[run]["state_type"] not in TERMINAL or run in self._ruled.held
        )

    def _trees(self) -> list[set[str]]:
        """Walk from each run to every run that it hangs together with."""
        near: dict[str, set[str]] = {run: set() for run in self._runs}
        for run, row in self._runs.items():
            task = self._tasks.get(row["parent_task_run_id"])
            if task and task["flow_run_id"] in self._runs:
                near[run].add(task["flow_run_id"])
                near[task["flow_run_id"]].add(run)
        trees: list[set[str]] = []
        seen: set[str] = set()
        for start in self._runs:
            if start in seen:
                continue
            tree, todo = {start}, [start]
            while todo:
                for other in near[todo.pop()] - tree:
                    tree.add(other)
                    todo.append(other)
            seen |= tree
            trees.append(tree)
        return trees

    def _run_may_go(self, run: str) -> bool:
        row, ruled = self._runs[run], self._ruled.run_may_go(run)
        if run in self._ruled.held:
            return False
        if ruled is not None:
            return ruled
        return row["state_type"] in self.policy.states and self._old(row, "flow_runs")

    @cached_property
    def _going(self) -> set[str]:
        """The flow runs that go: a tree goes whole or stays whole."""
        whole = [tree for tree in self._trees() if all(map(self._run_may_go, tree))]
        return set().union(*whole)

    @cached_property
    def _runs_left(self) -> Dump:
        going = self._going
        holding = {row["parent_task_run_id"] for run, row in self._runs.items() if run not in going}

        def task_goes(task: str, row: Row) -> bool:
            if row["flow_run_id"] in going:
                return True
            return (
                row["state_type"] in TERMINAL
                and self._old(row, "task_runs")
                and not self._stays_whole(row["flow_run_id"])
                and task not in holding
            )

        left: Dump = {"flow_run": {r: row for r, row in self._runs.items() if r not in going}}
        left["task_run"] = {t: row for t, row in self._tasks.items() if not task_goes(t, row)}
        for table, parent in (
            ("flow_run_state", "flow_run"),
            ("flow_run_input", "flow_run"),
            ("task_run_state", "task_run"),
        ):
            column, rows = f"{parent}_id", self.before[table]
            left[table] = {i: r for i, r in rows.items() if r[column] in left[parent]}
        return left

    def _log_goes(self, row: Row) -> bool:
        run, task = row["flow_run_id"], self._tasks.get(row["task_run_id"])
        own = task["flow_run_id"] if run is None and task else run
        if self._stays_whole(own):
            return False
        ruled = self._ruled.log_may_go(row, own)
        old = row["timestamp"] < self.policy.cutoff("logs") if ruled is None else ruled
        if old or run in self._going:
            return True
        tasks_left = self._runs_left["task_run"]
        if task and task["flow_run_id"] not in self._going and row["task_run_id"] not in tasks_left:
            return True
        if run is not None:
            gone = run not in self._runs
        else:
            gone = row["task_run_id"] is not None and row["task_run_id"] not in tasks_left
        return bool(gone and row["timestamp"] < self.policy.now - timedelta(hours=1))

    def _artifact_goes(self, row: Row) -> bool:
        run, task = row["flow_run_id"], self._tasks.get(row["task_run_id"])
        if run is None and task:
            run = task["flow_run_id"]
        return row["created"] < self.policy.cutoff("artifacts") and not self._stays_whole(run)

    def _collections(self, left: Dump) -> dict[str, Row]:
        """Say of each collection which artifacts it may point to."""
        found = {}
        for key, row in self.before["artifact_collection"].items():
            own = [a for a in left["artifact"].values() if a["key"] == key]
            if own:
                newest = max(a["created"] for a in own)
                allowed = {str(a["id"]) for a in own if a["created"] == newest}
                if str(row["latest_id"]) in left["artifact"]:
                    allowed = {str(row["latest_id"])}
                found[key] = {**row, "latest_id": allowed}
        return found

    def _events(self) -> Dump:
        cutoff, ruled = self.policy.cutoff("events"), self._ruled.event_goes
        events = {
            i: r
            for i, r in self.before["events"].items()
            if not ruled.get(i, r["occurred"] < cutoff)
        }
        resources = {
            i: r
            for i, r in self.before["event_resources"].items()
            if str(r["event_id"]) in events
            and (str(r["event_id"]) in ruled or r["occurred"] >= cutoff)
        }
        return {"events": events, "event_resources": resources}
