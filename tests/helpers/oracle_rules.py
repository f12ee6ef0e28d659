"""What rules and holds say of a row, as only DESIGN says it: plain Python over dumped rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

from world import TERMINAL, Dump, Policy, Row

HOLD_TAGS = ("keep", "keep-until:*", "hold:*")
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
# The clauses that count the newest, and the states that each counts; all where there are none.
COUNTED = {"last": (), "last_success": ("COMPLETED",), "last_failure": ("FAILED", "CRASHED")}
BEGINNING = datetime.min.replace(tzinfo=UTC)


def fits(pattern: str, text: str) -> bool:
    """Whether a text is what a pattern says: `*` any text, `?` a character, the rest itself."""
    wild = {"*": ".*", "?": "."}
    said = "".join(wild.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(said, text, re.DOTALL) is not None


def fits_one(patterns: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether a pattern of the alternatives fits one of the texts."""
    there = list(texts)
    return any(fits(pattern, text) for pattern in patterns for text in there)


def age_of(run: Row) -> datetime | None:
    """Return the first date of a run that is set."""
    for column in ("end_time", "state_timestamp", "start_time", "expected_start_time"):
        if run[column] is not None:
            return run[column]  # type: ignore[no-any-return]
    return None


def newest_first(rows: Iterable[Row], age: Any) -> list[Row]:
    """Sort rows by age, those of the same age by id; rows without an age come last."""
    return sorted(rows, key=lambda row: (age(row) or BEGINNING, str(row["id"])), reverse=True)


def keep_until(tag: str) -> date | None:
    """Return the last day of a hold; None is a tag that names no day."""
    said = re.fullmatch(r"keep-until:([0-9]{4}-[0-9]{2}-[0-9]{2})", tag)
    try:
        return date.fromisoformat(said[1]) if said else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Ruled:
    """What the rules and the holds of a policy say of the rows that are there before."""

    before: Dump
    policy: Policy

    def young(self, keep: Any, at: datetime | None) -> bool:
        """Whether the days of a `keep` keep a row; one without an age is not known to be old."""
        if keep == "forever":
            return True
        if "days" not in keep:
            return False
        return at is None or at >= self.policy.now - timedelta(days=keep["days"])

    @cached_property
    def held(self) -> set[str]:
        """The flow runs that a tag of theirs or of their deployment holds."""
        found = set()
        for run, row in self.before["flow_run"].items():
            tags: list[str] = [*row["tags"], *self._deployment(row).get("tags", ())]
            if any(map(self._holds, tags)):
                found.add(run)
        return found

    def _holds(self, tag: str) -> bool:
        patterns = HOLD_TAGS if self.policy.hold_tags is None else self.policy.hold_tags
        day = keep_until(tag)
        return fits_one(patterns, [tag]) and (
            day is None or self.policy.now.astimezone(UTC).date() <= day
        )

    def _deployment(self, run: Row) -> Row:
        return self.before.get("deployment", {}).get(str(run["deployment_id"]), {})

    def _of_kind(self, kind: str, patterns: Iterable[str], run: Row) -> bool:
        if kind == "states":
            return run["state_type"] in patterns
        if kind == "tags":
            return fits_one(patterns, run["tags"])
        if kind == "flows":
            return fits_one(patterns, [self.before["flow"][str(run["flow_id"])]["name"]])
        if kind == "work_pools":
            queue = self.before["work_queue"].get(str(run["work_queue_id"]))
            if queue is None:
                return False
            return fits_one(patterns, [self.before["work_pool"][queue["work_pool_id"]]["name"]])
        assert kind == "deployments"
        deployment = self._deployment(run)
        if not deployment:
            return False
        flow = self.before["flow"][str(deployment["flow_id"])]["name"]
        return any(
            fits(pattern, f"{flow}/{deployment['name']}" if "/" in pattern else deployment["name"])
            for pattern in patterns
        )

    def _selects(self, told: Row, run: Row) -> bool:
        kinds = ("deployments", "flows", "tags", "work_pools", "states")
        return all(self._of_kind(kind, told[kind], run) for kind in kinds if kind in told)

    @cached_property
    def rule_of(self) -> dict[str, int]:
        """By flow run, the place of the rule that decides about it; runs of none are missing."""
        found = {}
        for run, row in self.before["flow_run"].items():
            for place, rule in enumerate(self.policy.rules):
                unless = "except" in rule and self._selects(rule["except"], row)
                if row["state_type"] in TERMINAL and self._selects(rule, row) and not unless:
                    found[run] = place
                    break
        return found

    @cached_property
    def _among_the_newest(self) -> set[str]:
        """The flow runs that a rule keeps because they are among the newest of their group."""
        groups: dict[tuple[int, str], list[Row]] = defaultdict(list)
        for run, place in self.rule_of.items():
            row = self.before["flow_run"][run]
            of = f"of deployment {row['deployment_id']}"
            if row["deployment_id"] is None:
                of = f"of flow {row['flow_id']}"
            groups[place, of].append(row)
        found = set()
        for (place, _of), rows in groups.items():
            keep = self.policy.rules[place]["keep"]
            for clause, states in COUNTED.items():
                if keep != "forever" and clause in keep:
                    counted = [row for row in rows if not states or row["state_type"] in states]
                    found |= {str(r["id"]) for r in newest_first(counted, age_of)[: keep[clause]]}
        return found

    def run_may_go(self, run: str) -> bool | None:
        """Whether the rule of a flow run lets it go; None where no rule decides about it."""
        if run not in self.rule_of:
            return None
        keep = self.policy.rules[self.rule_of[run]]["keep"]
        young = self.young(keep, age_of(self.before["flow_run"][run]))
        return not young and run not in self._among_the_newest

    def log_may_go(self, log: Row, run: str | None) -> bool | None:
        """Whether a rule lets a log go by its age; None where none decides about it."""
        for rule in self.policy.log_rules:
            below = rule.get("below")
            level = LEVELS.get(str(below), below)
            if (level is None or log["level"] < level) and (
                "loggers" not in rule or fits_one(rule["loggers"], [log["name"]])
            ):
                return not self.young(rule["keep"], log["timestamp"])
        if run in self.rule_of and "logs" in self.policy.rules[self.rule_of[run]]:
            return not self.young(self.policy.rules[self.rule_of[run]]["logs"], log["timestamp"])
        return None

    @cached_property
    def event_rule_of(self) -> dict[str, int]:
        """By event, the place of the rule that decides about it; events of none are missing."""
        found = {}
        for event, row in self.before["events"].items():
            for place, rule in enumerate(self.policy.event_rules):
                if fits_one(rule.get("events", "*"), [row["event"]]) and fits_one(
                    rule.get("resources", "*"), [row["resource_id"]]
                ):
                    found[event] = place
                    break
        return found

    @cached_property
    def event_goes(self) -> dict[str, bool]:
        """Of the events that a rule decides about, whether each goes."""
        groups: dict[tuple[int, str], list[Row]] = defaultdict(list)
        for event, place in self.event_rule_of.items():
            row = self.before["events"][event]
            groups[place, row["resource_id"]].append(row)
        found = {}
        for (place, _resource), rows in groups.items():
            keep = self.policy.event_rules[place]["keep"]
            last = 0 if keep == "forever" else keep.get("last", 0)
            newest = newest_first(rows, lambda row: row["occurred"])[:last]
            for row in rows:
                young = self.young(keep, row["occurred"])
                found[str(row["id"])] = not young and row not in newest
        return found
