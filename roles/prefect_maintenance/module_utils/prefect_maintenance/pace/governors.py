"""What a governor is: it says whether the work may go on, waits, or ends, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..events import WaitKind


@dataclass(frozen=True)
class Moment:
    """The moment between two batches at which governors are asked.

    Attributes:
        at: what is worked on, for texts.
        worked: seconds since the pace last let the work go on.
        waited: seconds that it has waited since.
    """

    at: str
    worked: float
    waited: float


@dataclass(frozen=True)
class Wait:
    """Look again after so many seconds, and say why and for what."""

    why: str
    seconds: float
    kind: WaitKind


@dataclass(frozen=True)
class Stop:
    """End the step; `why` is a whole sentence that says how to go on.

    `remedy` is the command or variable for it, where there is another than to run again. With
    `goes_on`, the instant at which the work may go on, the end was agreed on and is no failure.
    """

    why: str
    remedy: str = ""
    goes_on: datetime | None = None


Answer = Wait | Stop | None


class Governor(Protocol):
    """Asked between two batches; None lets the work go on."""

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
