"""Patterns of a rule as conditions in SQL: `*` is any text, `?` one character, case matters.

LIKE does not tell case apart on SQLite, and GLOB is unknown to PostgreSQL. Patterns are bound.
"""

from __future__ import annotations

from collections.abc import Sequence

WILD = frozenset("*?")
_LIKE = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_", "*": "%", "?": "_"})
_GLOB = str.maketrans({"[": "[[]"})


def fits(
    column: str, patterns: Sequence[str], prefix: str, *, postgresql: bool
) -> tuple[str, dict[str, str]]:
    """Return the condition that a text fits one of the patterns, and what it binds.

    Args:
        column: an expression that gives the text.
        patterns: one or more.
        prefix: begins the names of what is bound.
        postgresql: the dialect.
    """
    exact = [pattern for pattern in patterns if not WILD & set(pattern)]
    wild = [pattern for pattern in patterns if WILD & set(pattern)]
    bound = {f"{prefix}_{number}": pattern for number, pattern in enumerate(exact)}
    any_of = []
    if exact:
        any_of.append(f"{column} IN ({', '.join(f':{name}' for name in bound)})")
    operator, escapes = ("LIKE", _LIKE) if postgresql else ("GLOB", _GLOB)
    for number, pattern in enumerate(wild, len(exact)):
        any_of.append(f"{column} {operator} :{prefix}_{number}")
        bound[f"{prefix}_{number}"] = pattern.translate(escapes)
    return f"({' OR '.join(any_of)})", bound
