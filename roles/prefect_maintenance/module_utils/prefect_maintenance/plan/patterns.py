"""Patterns with wildcards as SQL that means the same on PostgreSQL and on SQLite.

`*` stands for any text and `?` for one character, everything else for itself, and case matters.
Patterns are bound: a whole list of them is one value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_LIKE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_", "*": "%", "?": "_"})
_GLOB = str.maketrans({"[": "[[]"})

# A row of `g` for each tag; what is no list of tags has none.
_TAGS = """jsonb_array_elements_text(
    CASE jsonb_typeof({tags}) WHEN 'array' THEN {tags} ELSE '[]' END) g(value)"""
_SQLITE_TAGS = """json_each(
    CASE WHEN json_valid({tags}) THEN CASE json_type({tags}) WHEN 'array' THEN {tags} ELSE '[]' END
    ELSE '[]' END) g"""


@dataclass(frozen=True)
class Patterns:
    """How patterns are written for a dialect."""

    postgresql: bool = True

    def value(self, patterns: Iterable[str]) -> Any:
        """Return patterns as the one value that `fits` binds."""
        if self.postgresql:
            return [pattern.translate(_LIKE) for pattern in patterns]
        return json.dumps([pattern.translate(_GLOB) for pattern in patterns])

    def words(self, texts: Iterable[str]) -> Any:
        """Return texts as the one value that `none_of` binds."""
        return list(texts) if self.postgresql else json.dumps(list(texts))

    def fits(self, text: str, name: str) -> str:
        """A text fits one of the patterns that are bound to a name."""
        if self.postgresql:
            return f"{text} LIKE ANY (CAST(:{name} AS text[]))"
        return f"EXISTS (SELECT 1 FROM json_each(:{name}) p WHERE {text} GLOB p.value)"

    def none_of(self, text: str, name: str) -> str:
        """A text is none of those that are bound to a name."""
        if self.postgresql:
            return f"{text} <> ALL (CAST(:{name} AS text[]))"
        return f"{text} NOT IN (SELECT p.value FROM json_each(:{name}) p)"

    def tags(self, column: str) -> str:
        """The tags in a column, as rows `g` with the column `value`, for FROM."""
        return (_TAGS if self.postgresql else _SQLITE_TAGS).format(tags=column)

    def tagged(self, column: str, condition: str) -> str:
        """A tag `g.value` among those in a column meets a condition."""
        found = f"EXISTS (SELECT 1 FROM {self.tags(column)} WHERE {condition})"
        # Most runs have no tags, which takes less to see than that none of them fits.
        return f"({column} <> '[]' AND {found})"

    def each(self, text: str, patterns: Iterable[str], name: str) -> tuple[str, dict[str, str]]:
        """A text fits one of these patterns, which are bound one by one.

        That is for texts of millions of rows: no list is taken apart for each of them.

        Returns:
            The condition, and what it binds; the names begin with `name`.
        """
        operator, escaped = ("LIKE", _LIKE) if self.postgresql else ("GLOB", _GLOB)
        told, bound = [], {}
        for number, pattern in enumerate(patterns):
            wild = not {"*", "?"}.isdisjoint(pattern)
            told.append(f"{text} {operator if wild else '='} :{name}_{number}")
            bound[f"{name}_{number}"] = pattern.translate(escaped) if wild else pattern
        return f"({' OR '.join(told)})", bound
