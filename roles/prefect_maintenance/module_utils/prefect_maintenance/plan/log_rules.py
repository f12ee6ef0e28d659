"""Rules for logs by level and logger."""

from __future__ import annotations

from ..catalogue import LOG
from ..request.policy import Cutoffs
from ..request.rules import LogRule
from .dated_rules import Case, DatedRules, bounds, cutoff_of
from .patterns import Patterns


def log_rules(rules: tuple[LogRule, ...], cutoffs: Cutoffs, patterns: Patterns) -> DatedRules:
    """Write rules for logs as conditions; the runs that logs belong to are asked apart."""
    if not rules:
        return DatedRules(LOG.age)
    bound: dict[str, object] = {"log_cutoff_0": cutoffs.logs}
    cases = []
    for rule in rules:
        matched = []
        if rule.below is not None:
            matched.append(f"{{x}}.level < {rule.below:d}")
        if rule.loggers:
            fit, values = patterns.each("{x}.name", rule.loggers, f"log_name_{rule.number}")
            matched.append(fit)
            bound.update(values)
        goes = "FALSE"
        if cutoff := cutoff_of(rule.keep, cutoffs.reference):
            bound[f"log_cutoff_{rule.number}"] = cutoff
            goes = f"{{x}}.{LOG.age} < :log_cutoff_{rule.number}"
        cases.append(Case(rule.number, rule.name, " AND ".join(matched), goes))
    until, since = bounds((rule.keep for rule in rules), cutoffs.logs, cutoffs.reference)
    otherwise = f"{{x}}.{LOG.age} < :log_cutoff_0"
    return DatedRules(LOG.age, tuple(cases), otherwise, bound=bound, until=until, since=since)
