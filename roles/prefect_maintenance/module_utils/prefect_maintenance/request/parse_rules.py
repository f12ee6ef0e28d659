"""The rules of a request, checked: what is wrong with one is said in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ..errors import SettingsError
from .options.retention import DAYS, LAST, MOST_PATTERNS, MOST_RULES
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
# A rule's own name stands in lines of the report.
_LONGEST_NAME = 100


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
    if len(told) > MOST_PATTERNS:
        raise SettingsError(f"hold_tags has {len(told)} patterns; write at most {MOST_PATTERNS}")
    for pattern in told:
        if why := _broken(pattern):
            raise SettingsError(
                f"hold_tags has the pattern {short(pattern)}, which {why}; correct it"
            )
    return tuple(dict.fromkeys(told))


@dataclass(frozen=True)
class _Told:
    """One rule as it was written, and how texts call it."""

    option: str
    number: int
    name: str
    said: Mapping[str, Any]

    def wrong(self, key: str, what: str) -> SettingsError:
        said = self.said.get("name")
        named = f" ({said})" if isinstance(said, str) and not _broken(said, _LONGEST_NAME) else ""
        return SettingsError(f"{self.option}: {key} of rule {self.number}{named} {what}")

    def only(self, *known: str) -> None:
        for key in self.said:
            if key not in known:
                raise self.wrong(short(key), f"is unknown; known are {', '.join(known)}")

    def some_of(self, *matching: object, kinds: str) -> None:
        if not any(value not in (None, ()) for value in matching):
            raise self.wrong("a match", f"is missing; give one of {kinds}")

    def patterns(self, key: str, said: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        where, key_of = (self.said, key) if said is None else (said, f"except.{key}")
        if key not in where:
            return ()
        values = where[key]
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise self.wrong(key_of, f"must be a list with a pattern or more, not {short(values)}")
        if len(values) > MOST_PATTERNS:
            told = f"has {len(values)} patterns; write at most {MOST_PATTERNS}"
            raise self.wrong(key_of, told)
        for pattern in values:
            if why := _broken(pattern) or (key == "deployments" and _no_deployment(pattern)):
                raise self.wrong(key_of, f"has the pattern {short(pattern)}, which {why}")
        return tuple(dict.fromkeys(values))

    def states(self, said: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        values = self.patterns("states", said)
        for state in values:
            if state not in TERMINAL_STATES:
                raise self.wrong(
                    "states" if said is None else "except.states",
                    f"has {short(state)}, which is no terminal state; "
                    f"terminal are {', '.join(TERMINAL_STATES)}",
                )
        return values

    def match(self, said: Mapping[str, Any] | None = None) -> Match:
        kinds = {kind: self.patterns(kind, said) for kind in KINDS if kind != "states"}
        return Match(**kinds, states=self.states(said))

    def keep(self, key: str, *clauses: str) -> Keep:
        said = self.said.get(key)
        if said == FOREVER:
            return Keep(forever=True)
        if not isinstance(said, Mapping) or not said:
            such = f"be {FOREVER} or map {', '.join(clauses)} to numbers"
            if key not in self.said:
                raise self.wrong(key, f"is missing; it must {such}")
            raise self.wrong(key, f"must {such}, not {short(said)}")
        numbers: dict[str, Any] = {}
        for clause, value in said.items():
            if clause == FOREVER:
                raise self.wrong(f"{key}.{clause}", f"is no clause; write {key}: {FOREVER}")
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
        if not isinstance(said.get("name"), str | None) or _broken(rule.name, _LONGEST_NAME):
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
    given_kinds = [kind for kind in KINDS if getattr(unless, kind)]
    # What must fit in two ways to be left out may be named by the rule in one of them.
    for kind in given_kinds if len(given_kinds) == 1 else ():
        for value in getattr(match, kind):
            for taken in getattr(unless, kind):
                if _covers(taken, value, whole=kind == "deployments"):
                    text = f"has {short(taken)}, which takes back {short(value)}"
                    raise told.wrong(f"except.{kind}", text)
    return unless


def _covers(pattern: str, other: str, *, whole: bool) -> bool:
    """Whether all that a pattern could fit is fitted by the other one too.

    Args:
        pattern: the wider one.
        other: the narrower one.
        whole: they are of deployments, whose flow may be left out.
    """
    if whole:
        pattern, other = (text if "/" in text else f"*/{text}" for text in (pattern, other))
    # Only `*` fits as many characters as this one's `*` may stand for; a bracket is itself.
    many = "\0" * (len(pattern) + 1)
    return fnmatchcase(other.replace("*", many), pattern.replace("[", "[[]"))


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


def _no_deployment(pattern: str) -> str:
    """Say why a pattern can be no deployment's, or nothing."""
    if pattern.count("/") > 1:
        return "has more than one '/': write flow/deployment, or the deployment's name"
    if "" in pattern.split("/"):
        return "has nothing before or after its '/': write flow/deployment, with * for any"
    return ""


def _broken(pattern: Any, longest: int = _LONGEST) -> str:
    """Say what is wrong with a pattern, or nothing."""
    if not isinstance(pattern, str):
        return "is no text"
    if not pattern.strip():
        return "is empty"
    if len(pattern) > longest:
        return f"is longer than {longest} characters"
    if not pattern.isprintable():
        return "has a character that cannot be shown"
    return ""
