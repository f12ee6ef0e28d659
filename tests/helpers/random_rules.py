"""Random policies with rules of all kinds and clauses, the same one for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from oracle_rules import fits_one
from ruled_world import (
    DEPLOYMENTS,
    EVENTS,
    FLOWS,
    HOLDS,
    LOGGERS,
    NO_HOLDS,
    POOLS,
    RESOURCES,
    TAGS,
)
from world import NOW, SAME, TERMINAL, Policy, Row

DAYS = (1, 1, 3, 5, 5, 15, 16, 30, 900)
HOLD_LISTS = (
    *(None, None, None, None, (), (), (), ("keep",), ("keep*",), ("*",)),
    *(("hold:*", "keep-until:????-??-??"), ("gd*",)),
)
STATES = (("COMPLETED", "FAILED", "CANCELLED"), ("COMPLETED", "CRASHED"), TERMINAL)
FULL_NAMES = tuple(f"{flow}/{name}" for flow in ("oracle", *FLOWS) for name in DEPLOYMENTS)
MATCHED = {
    "deployments": (*DEPLOYMENTS, *FULL_NAMES[::4]),
    "flows": ("oracle", *FLOWS),
    "tags": (*TAGS, *HOLDS[:2], *NO_HOLDS[2:], "nobody has this"),
    "work_pools": POOLS,
    "states": TERMINAL,
}


def random_policy(seed: int) -> Policy:
    """Make a policy with one to six rules for runs, up to four for events and three for logs."""
    return _Writer(random.Random(f"policy {seed}")).policy()


class _Writer:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def policy(self) -> Policy:
        pick, number = self.chance.choice, self.chance.randint
        return Policy(
            NOW,
            {entity: pick((SAME[entity], 2, 5, 40)) for entity in SAME},
            pick(STATES),
            tuple(self._run_rule(place) for place in range(number(1, 6))),
            tuple(self._event_rule() for _ in range(number(0, 4))),
            tuple(self._log_rule() for _ in range(number(0, 3))),
            pick(HOLD_LISTS),
        )

    def _run_rule(self, place: int) -> Row:
        kinds = self.chance.sample(tuple(MATCHED), self.chance.choice((1, 1, 1, 2, 2, 3)))
        rule: Row = {kind: self._values(kind, MATCHED[kind]) for kind in kinds}
        states = rule.get("states", TERMINAL)
        if self.chance.random() < 0.4:
            kinds = self.chance.sample(tuple(MATCHED), self.chance.choice((1, 1, 2)))
            unless = {kind: self._values(kind, MATCHED[kind]) for kind in kinds}
            # What a rule names it cannot leave out again.
            if not any(fits_one(unless[kind], self._worded(rule.get(kind, ()))) for kind in kinds):
                rule["except"] = unless
        clauses = ["days", "last"]
        clauses += ["last_success"] if "COMPLETED" in states else []
        clauses += ["last_failure"] if {"FAILED", "CRASHED"} & set(states) else []
        rule["keep"] = self._keep(*clauses)
        if self.chance.random() < 0.4:
            rule["logs"] = self._keep("days")
        if self.chance.random() < 0.5:
            rule["name"] = f"the {place}th: 'of' {{all}} %s :kinds"
        return rule

    def _event_rule(self) -> Row:
        kinds = self.chance.choice((("events",), ("resources",), ("events", "resources")))
        known = {"events": EVENTS, "resources": RESOURCES}
        rule: Row = {kind: self._values(kind, known[kind]) for kind in kinds}
        return {**rule, "keep": self._keep("days", "last")}

    def _log_rule(self) -> Row:
        rule: Row = {"keep": self._keep("days")}
        which = self.chance.random()
        if which < 0.7:
            rule["below"] = self.chance.choice(("INFO", "WARNING", "ERROR", "CRITICAL", 29, 21))
        if which > 0.4:
            rule["loggers"] = self._values("loggers", LOGGERS)
        return rule

    def _keep(self, *clauses: str) -> Any:
        if self.chance.random() < 0.15:
            return "forever"
        chosen = self.chance.sample(clauses, self.chance.randint(1, len(clauses)))
        last = (1, 1, 1, 2, 3, 10)
        return {c: self.chance.choice(DAYS if c == "days" else last) for c in chosen}

    def _worded(self, patterns: Iterable[str]) -> list[str]:
        """Write patterns as texts that they fit, those of deployments in both ways."""
        return [word for p in patterns for word in (p, p.rpartition("/")[2], f"oracle/{p}")]

    def _values(self, kind: str, known: tuple[str, ...]) -> list[str]:
        chosen = self.chance.sample(known, self.chance.choice((1, 2, 3)))
        if kind == "states":
            return chosen
        return list(dict.fromkeys(self._pattern(value) for value in chosen))

    def _pattern(self, text: str) -> str:
        """Write a text as it is, or a pattern that fits it and perhaps others."""
        at = self.chance.randrange(len(text))
        if (which := self.chance.random()) < 0.45:
            return text
        if which < 0.6:
            return text[:at] + "*"
        if which < 0.7:
            return "*" + text[at:]
        if which < 0.8:
            return text[:at] + "*" + text[self.chance.randrange(at, len(text)) :]
        if which < 0.97:
            return text[:at] + "?" + text[at + 1 :]
        return "*"
