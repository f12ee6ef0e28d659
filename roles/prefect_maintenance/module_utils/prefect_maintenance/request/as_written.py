"""What of a request decides what goes and how, as plain data in the words of the user.

A plan that is kept carries it, so that a later run can tell whether it would decide alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from .rules import FOREVER, EventRule, LogRule, RunRule
from .settings import Settings


def decides(step: str, settings: Settings) -> dict[str, Any]:
    """Return what decides in a step, of the options that its module takes.

    Retention, states, rules and holds are every step's.
    """
    policy, archive = settings.policy, settings.archive
    folder = str(archive.folder) if archive else None
    # A purge counts what the deletion after it takes.
    to_come = {"stuck": settings.stuck} if "delete" in settings.before else {}
    own: dict[str, dict[str, Any]] = {
        "purge": {"purge_strategy": settings.purge_strategy, "archive_dir": folder, **to_come},
        "delete": {
            "stuck": settings.stuck,
            "run_delete_via": settings.run_delete_via,
            "archive_dir": folder,
        },
    }
    found: dict[str, Any] = {
        "retention": policy.days,
        "states": policy.states,
        "rules": [_rule(rule) for rule in policy.rules],
        "event_rules": [_rule(rule) for rule in policy.event_rules],
        "log_rules": [_rule(rule) for rule in policy.log_rules],
        "hold_tags": policy.hold_tags,
        **own.get(step, {}),
    }
    # As it is after it was written and read again.
    return dict(json.loads(json.dumps(found, default=dict)))


def differences(was: Any, now: Any, at: str = "") -> Iterator[str]:
    """Say what differs between two such data: what it was, and what it is.

    Args:
        was: as it was written down.
        now: as it is.
        at: what they are called.
    """
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*was, *now)):
            yield from differences(was.get(key), now.get(key), _inside(at, key))
    elif _rules(was) and _rules(now):
        for number, (one, other) in enumerate(zip_longest(was, now), 1):
            yield from differences(one, other, f"{at}: rule {number}")
    elif _unordered(was) != _unordered(now):
        yield f"{at} was {_shown(was)}, is {_shown(now)}"


def _rule(rule: RunRule | EventRule | LogRule) -> dict[str, Any]:
    """Return a rule as a user writes it, without what it leaves out."""
    found: dict[str, Any] = {}
    for key, value in asdict(rule).items():
        if key == "match":
            found |= _given(value)
        elif key == "unless":
            found["except"] = _given(value)
        elif key in ("keep", "logs") and value:
            found[key] = FOREVER if value["forever"] else _given(value)
        elif key != "number":
            found[key] = value
    return _given(found)


def _given(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in told.items() if value or (value == 0 and value is not False)
    }


def _inside(at: str, key: str) -> str:
    if not at:
        return key
    return f"{at} {key}" if at[-1].isdigit() and ": rule " in at else f"{at}.{key}"


def _rules(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)


def _unordered(value: Any) -> Any:
    """Alternatives mean the same in any order."""
    return sorted(map(str, value)) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    if value in (None, [], {}):
        return "not there"
    if isinstance(value, list) and not _rules(value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
