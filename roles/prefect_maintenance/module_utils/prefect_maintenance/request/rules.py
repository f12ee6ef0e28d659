"""Rules of retention, as the user wrote them: which runs, events and logs, and how long.

The first rule that matches decides. Within `keep`, every clause that applies keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

from .options import REQUEST

TERMINAL_STATES = REQUEST["states"].known
FOREVER = "forever"
# Of the logging module of Python, whose numbers Prefect stores.
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

KINDS = ("deployments", "flows", "tags", "work_pools", "states")
SUCCESS, FAILURE = ("COMPLETED",), ("FAILED", "CRASHED")


@dataclass(frozen=True)
class Match:
    """Which flow runs are meant: of each kind that is given, one of the values must fit.

    `*` stands for any text, `?` for one character. A deployment is named as `flow/deployment` or
    by its own name.
    """

    deployments: tuple[str, ...] = ()
    flows: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    work_pools: tuple[str, ...] = ()
    states: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in KINDS)


@dataclass(frozen=True)
class Keep:
    """What keeps a row: each clause that is given keeps by itself.

    Attributes:
        days: rows that are not older.
        last: so many of the newest, of each deployment, or of each resource of events.
        last_success: so many of the newest that completed.
        last_failure: so many of the newest that failed or crashed.
        forever: all of them.
    """

    days: int | None = None
    last: int | None = None
    last_success: int | None = None
    last_failure: int | None = None
    forever: bool = False

    @property
    def ranked(self) -> bool:
        """Whether it counts the newest rows."""
        return any((self.last, self.last_success, self.last_failure))


@dataclass(frozen=True)
class RunRule:
    """How long flow runs are kept that it matches and no rule before it.

    Attributes:
        number: its place in the list, from 1 on.
        name: what reports call it.
        match: which runs.
        unless: which of them not; nothing is left out when it is empty.
        keep: what keeps them.
        logs: what keeps their logs, in place of the retention of logs; None leaves that.
    """

    number: int
    name: str
    match: Match
    unless: Match
    keep: Keep
    logs: Keep | None = None

    @property
    def states(self) -> tuple[str, ...]:
        """The terminal states that it speaks for."""
        return self.match.states or TERMINAL_STATES


@dataclass(frozen=True)
class EventRule:
    """How long events are kept whose type and resource match.

    Attributes:
        events: patterns of types, such as `prefect.flow-run.*`; any without.
        resources: patterns of the id of the resource that it happened to; any without.
    """

    number: int
    name: str
    events: tuple[str, ...]
    resources: tuple[str, ...]
    keep: Keep


@dataclass(frozen=True)
class LogRule:
    """How long logs are kept whose level and logger match.

    Attributes:
        below: the level that they do not reach; None is any.
        loggers: patterns of the logger's name; any without.
    """

    number: int
    name: str
    below: int | None
    loggers: tuple[str, ...]
    keep: Keep
