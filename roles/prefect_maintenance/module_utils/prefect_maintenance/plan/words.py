"""The smallest pieces of SQL that the rules are made of."""

from __future__ import annotations

from collections.abc import Iterable

# The first half can use the index on end_time; together they are COALESCE(...) < cutoff.
_OLD = (
    "({r}.end_time < :{cutoff} OR ({r}.end_time IS NULL AND "
    "COALESCE({r}.state_timestamp, {r}.start_time, {r}.expected_start_time) < :{cutoff}))"
)
# Infinity and the years before Christ are no dates in Python.
_FINITE = "CASE WHEN {age} >= '0001-01-02' AND {age} < '9999-12-30' THEN {age} END"
_AGE = "COALESCE({r}.end_time, {r}.state_timestamp, {r}.start_time, {r}.expected_start_time)"

# Ends a subquery whose columns are to be worked out once a row: PostgreSQL does not look into it.
ALL = "LIMIT 9223372036854775807"


def old(alias: str, cutoff: str) -> str:
    """Run `alias` is older than the bound cutoff."""
    return _OLD.format(r=alias, cutoff=cutoff)


def age(alias: str) -> str:
    """The instant that the age of run `alias` counts from."""
    return _AGE.format(r=alias)


def finite(age: str) -> str:
    """An instant that Python can read, else nothing."""
    return _FINITE.format(age=age)


def listed(ids: Iterable[str]) -> str:
    """Write ids that came out of the database as an SQL list."""
    return f"({words(ids)})"


def words(values: Iterable[str]) -> str:
    """Write words that were checked against a list, or ids; nothing else may come here."""
    return ", ".join(f"'{value}'" for value in values)
