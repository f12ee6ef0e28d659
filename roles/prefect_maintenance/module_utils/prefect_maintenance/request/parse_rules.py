"""The rules of a request, checked: what is wrong with one is said in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SettingsError
from .options.retention import DAYS, LAST, MOST_RULES
from .rules import (
    FAILURE,
    FOREVER,
    KINDS,
    LEVELS,
    SUCCESS,
    TERMINAL_STATES,
    EventRule,
    Keep,
    LogRule,
    Match,
    RunRule,
)
from .values import given, integer, short

# Prefect cuts names off at less; whatever is longer was pasted by mistake.
_LONGEST = 1000


def parse_run_rules(request: Mapping[str, Any]) -> tuple[RunRule, ...]:
    """Check the rules for flow runs.

    Raises:
        SettingsError: one cannot be read; the text names its number or name, and the key.
    """
    return tuple(_run_rule(told) for told in _rules(request, "rules"))


def parse_event_rules(request: Mapping[str, Any]) -> tuple[EventRule, ...]:
    """Check the rules for events.

    Raises:
        SettingsError: one cannot be read; the text names its number or name, and the key.
    """
    found = []
    for told in _rules(request, "event_rules"):
        told.only("name", "events", "resources", "keep")
        events, resources = told.patterns("events"), told.patterns("resources")
        told.some_of(events, resources, kinds="events, resources")
        keep = told.keep("keep", "days", "last")
        found.append(EventRule(told.number, told.name, events, resources, keep))
    return tuple(found)


def parse_log_rules(request: Mapping[str, Any]) -> tuple[LogRule, ...]:
    """Check the rules for logs.

    Raises:
        SettingsError: one cannot be read; the text names its number or name, and the key.
    """
    found = []
    for told in _rules(request, "log_rules"):
        told.only("name", "below", "loggers", "keep")
        below, loggers = _level(told), told.patterns("loggers")
        told.some_of(below, loggers, kinds="below, loggers")
        found.append(LogRule(told.number, told.name, below, loggers, told.keep("keep", "days")))
    return tuple(found)


def parse_hold_tags(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Check the patterns of the tags that keep a run whatever its age.

    Raises:
        SettingsError: they are no list of texts.
    """
    told = given(request, "hold_tags")
    if isinstance(told, str) or not isinstance(told, Sequence):
        raise SettingsError(f"hold_tags must be a list, e.g. [keep, 'hold:*'], not {short(told)}")
    for pattern in told:
        if why := _broken(pattern):
            raise SettingsError(f"hold_tags has the pattern {short(pattern)}, which {why}")
    return tuple(dict.fromkeys(told))


@dataclass(frozen=True)
class _Told:
    """One rule as it was written, and how texts call it."""

    option: str
    number: int
    name: str
    said: Mapping[str, Any]

    def wrong(self, key: str, what: str) -> SettingsError:
        named = f" ({self.said['name']})" if isinstance(self.said.get("name"), str) else ""
        return SettingsError(f"{self.option}: {key} of rule {self.number}{named} {what}")

    def only(self, *known: str) -> None:
        for key in self.said:
            if key not in known:
                raise self.wrong(short(key), f"is unknown; known are {', '.join(known)}")

    def some_of(self, *matching: object, kinds: str) -> None:
        if not any(value not in (None, ()) for value in matching):
            raise self.wrong("what", f"is matched is missing; give one of {kinds}")

    def patterns(self, key: str, said: Any = None) -> tuple[str, ...]:
        values = (self.said if said is None else said).get(key)
        if values is None:
            return ()
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise self.wrong(key, f"must be a list with a pattern or more, not {short(values)}")
        for pattern in values:
            why = _broken(pattern)
            if not why and key == "deployments" and pattern.count("/") > 1:
                why = "has more than one '/': write flow/deployment, or the deployment's name"
            if why:
                raise self.wrong(key, f"has the pattern {short(pattern)}, which {why}")
        return tuple(dict.fromkeys(values))

    def states(self, said: Any = None) -> tuple[str, ...]:
        values = self.patterns("states", said)
        for state in values:
            if state not in TERMINAL_STATES:
                raise self.wrong(
                    "states",
                    f"has {short(state)}, which is no terminal state; "
                    f"terminal are {', '.join(TERMINAL_STATES)}",
                )
        return values

    def match(self, said: Any = None) -> Match:
        kinds = {kind: self.patterns(kind, said) for kind in KINDS if kind != "states"}
        return Match(**kinds, states=self.states(said))

    def keep(self, key: str, *clauses: str) -> Keep:
        said = self.said.get(key)
        if said == FOREVER:
            return Keep(forever=True)
        if not isinstance(said, Mapping) or not said:
            such = ", ".join(clauses)
            raise self.wrong(key, f"must be {FOREVER} or map {such} to numbers, not {short(said)}")
        numbers: dict[str, Any] = {}
        for clause, value in said.items():
            if clause not in clauses:
                known = ", ".join(clauses)
                raise self.wrong(f"{key}.{clause}", f"is unknown; known are {known}")
            bounds = DAYS if clause == "days" else LAST
            try:
                numbers[clause] = integer(value, clause, bounds)
            except SettingsError as error:
                text = str(error).removeprefix(f"{clause} ")
                raise self.wrong(f"{key}.{clause}", text) from None
        return Keep(**numbers)


def _rules(request: Mapping[str, Any], option: str) -> list[_Told]:
    told = given(request, option)
    if isinstance(told, str) or not isinstance(told, Sequence):
        raise SettingsError(f"{option} must be a list of rules, not {short(told)}")
    if len(told) > MOST_RULES:
        raise SettingsError(f"{option} has {len(told)} rules; write at most {MOST_RULES}")
    found: list[_Told] = []
    for number, said in enumerate(told, 1):
        if not isinstance(said, Mapping):
            raise SettingsError(
                f"{option}: rule {number} must map keys to values, not {short(said)}"
            )
        rule = _Told(option, number, str(said.get("name") or f"rule {number}"), said)
        if not isinstance(said.get("name"), str | None) or _broken(rule.name):
            raise rule.wrong("name", f"must be a short text, not {short(said['name'])}")
        if rule.name in {other.name for other in found}:
            raise rule.wrong("name", "is the name of an earlier rule too; give it another")
        found.append(rule)
    return found


def _run_rule(told: _Told) -> RunRule:
    told.only("name", *KINDS, "except", "keep", "logs")
    match, unless = told.match(), Match()
    told.some_of(*(getattr(match, kind) for kind in KINDS), kinds=", ".join(KINDS))
    if "except" in told.said:
        unless = _unless(told, match)
    keep = told.keep("keep", "days", "last", "last_success", "last_failure")
    logs = told.keep("logs", "days") if "logs" in told.said else None
    rule = RunRule(told.number, told.name, match, unless, keep, logs)
    for clause, states in (("last_success", SUCCESS), ("last_failure", FAILURE)):
        if getattr(keep, clause) and not set(states) & set(rule.states):
            raise told.wrong(
                f"keep.{clause}", f"keeps nothing: states has no {' or '.join(states)}"
            )
    return rule


def _unless(told: _Told, match: Match) -> Match:
    said = told.said["except"]
    if not isinstance(said, Mapping) or not said:
        raise told.wrong("except", f"must map {', '.join(KINDS)} to lists, not {short(said)}")
    for key in said:
        if key not in KINDS:
            raise told.wrong(f"except.{key}", f"is unknown; known are {', '.join(KINDS)}")
    unless = told.match(said)
    for kind in KINDS:
        both = _both(getattr(match, kind), getattr(unless, kind))
        if both:
            raise told.wrong(f"except.{kind}", f"takes back {', '.join(both)} of {kind}")
    return unless


def _both(one: Iterable[str], other: Iterable[str]) -> list[str]:
    return [value for value in one if value in set(other)]


def _level(told: _Told) -> int | None:
    value = told.said.get("below")
    if value is None:
        return None
    if isinstance(value, str) and value.upper() in LEVELS:
        return LEVELS[value.upper()]
    try:
        return integer(value, "below", (1, 100))
    except SettingsError:
        levels = ", ".join(LEVELS)
        raise told.wrong(
            "below", f"must be one of {levels}, or a number, not {short(value)}"
        ) from None


def _broken(pattern: Any) -> str:
    """Say what is wrong with a pattern, or nothing."""
    if not isinstance(pattern, str):
        return "is no text"
    if not pattern.strip():
        return "is empty"
    if len(pattern) > _LONGEST:
        return f"is longer than {_LONGEST} characters"
    if not pattern.isprintable():
        return "has a character that cannot be shown"
    return ""
