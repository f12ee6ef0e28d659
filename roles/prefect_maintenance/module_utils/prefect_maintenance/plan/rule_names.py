"""How an archive names rules: "run rule 2" is the second of the run rules."""

from __future__ import annotations

from collections.abc import Iterable

GENERAL = "the general policy"
RUN_RULE, EVENT_RULE, LOG_RULE = "run rule", "event rule", "log rule"
# The lists that rules stand in, by the words that name a rule of them.
LISTS = {RUN_RULE: "rules", EVENT_RULE: "event_rules", LOG_RULE: "log_rules"}


def by_number(number: str, numbers: Iterable[int]) -> str:
    """Write the name of the run rule of that number; of any other it is the general policy."""
    whens = " ".join(f"WHEN {one} THEN '{RUN_RULE} {one}'" for one in numbers)
    return f"CASE {number} {whens} ELSE '{GENERAL}' END"
