"""What happens while a step is at work, told to whoever listens and kept for the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

# What work waits for: a monitor counts the seconds of each.
WaitKind = Literal[
    "cluster", "lock", "single_writer", "snapshots",
    "disk", "slot", "archive", "replica", "autovacuum", "sessions", "api", "nice", "window",
]  # fmt: skip

# Units of a progress that is made before the work: what is counted says nothing of how far it is.
COUNTED, MEASURED = "tables counted", "tables measured"


@dataclass(frozen=True)
class StepStarted:
    """A step has begun."""

    step: str


@dataclass(frozen=True)
class Progress:
    """How far the work on a table is.

    Attributes:
        table: its name, or what else is worked on.
        done: what is done so far.
        total: of how much, where that is known.
        unit: what is counted.
        bytes: what was written or freed meanwhile, where that is known.
    """

    table: str
    done: int
    total: int | None
    unit: str = "rows"
    bytes: int = 0


@dataclass(frozen=True)
class Waiting:
    """The work on a table goes on later.

    Attributes:
        table: its name, or what else is worked on.
        why: for people.
        seconds: that this adds to the wait, before or after it is told.
        kind: what it waits for.
    """

    table: str
    why: str
    seconds: float
    kind: WaitKind


@dataclass(frozen=True)
class TableDone:
    """The work on a table has ended.

    Attributes:
        table: its name; nothing stands for the file of an SQLite database as a whole.
        rows: that left it in this step.
        ways: rows that went in each way; they add up to `rows`.
        seconds: that it took.
        wal_bytes: WAL that the whole server wrote meanwhile.
        error: why it failed.
    """

    table: str | None
    rows: int
    ways: Mapping[str, int]
    seconds: float
    wal_bytes: int
    error: str | None = None


@dataclass(frozen=True)
class Rewritten:
    """The rows of a table, or a file, were written anew.

    Attributes:
        table: its name; nothing stands for the file of an SQLite database as a whole.
        lock_seconds: for which everybody was kept out.
        extra_bytes: disk that was needed meanwhile.
    """

    table: str | None
    lock_seconds: float
    extra_bytes: int


@dataclass(frozen=True)
class Reclaimed:
    """What was done to give the space of a table back, and why that.

    `table` is nothing for the file of an SQLite database as a whole.
    """

    table: str | None
    action: str
    why: str


@dataclass(frozen=True)
class IndexRebuilt:
    """An index was built anew beside everybody's work.

    Attributes:
        table: whose it is.
        index: its name.
        bytes_back: that it is smaller now.
    """

    table: str
    index: str
    bytes_back: int


@dataclass(frozen=True)
class AutovacuumSet:
    """A setting of autovacuum was set on a table."""

    table: str
    setting: str


@dataclass(frozen=True)
class StuckRunsSettled:
    """It is settled what became of stuck runs; `why_not` is None when they were ended."""

    runs: tuple[str, ...]
    why_not: str | None


@dataclass(frozen=True)
class FellBack:
    """The work on a table was not done in the way that was planned, and why."""

    table: str
    why: str


@dataclass(frozen=True)
class Warned:
    """Something that a person should know."""

    text: str


@dataclass(frozen=True)
class Stopped:
    """The step ends before its work is done."""

    why: str


Event = (
    StepStarted
    | Progress
    | Waiting
    | TableDone
    | Rewritten
    | Reclaimed
    | IndexRebuilt
    | AutovacuumSet
    | StuckRunsSettled
    | FellBack
    | Warned
    | Stopped
)
Listener = Callable[[Event], None]


def silent(_event: Event) -> None:
    """Listen to nothing."""


@dataclass
class Counting:
    """Tells before each table how many are counted, or measured, so far.

    Attributes:
        tell: is told.
        total: of how many.
        unit: what is done to them.
    """

    tell: Listener
    total: int
    unit: str = COUNTED
    _done: int = 0

    def __call__(self, table: str) -> None:
        """Say that the next table is at hand."""
        self.tell(Progress(table, self._done, self.total, self.unit))
        self._done += 1


@dataclass
class Events:
    """Takes what happens: tells it to a listener, and keeps what the report is made of.

    Attributes:
        listener: told of everything at once; what it raises ends the step.
        kept: all but progress and waits, of which there is one a batch.
        waited: seconds, by what was waited for.
    """

    listener: Listener | None = None
    kept: list[Event] = field(default_factory=list)
    waited: dict[str, float] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if not isinstance(event, Progress | Waiting):
            self.kept.append(event)
        if isinstance(event, Waiting):
            self.waited[event.kind] = self.waited.get(event.kind, 0.0) + event.seconds
        if self.listener:
            self.listener(event)
