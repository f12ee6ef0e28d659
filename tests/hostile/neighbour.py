"""Stopping a step at one of its statements, so that somebody else can act there."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from .scene import GivenUp, Scene, wait_until

# The first and the second time that a statement comes: between two pieces is not before all.
_OCCURRENCES = 2


@dataclass(frozen=True)
class Place:
    """A statement of a step, whatever its numbers are, and how often it has come before."""

    text: str
    time: int

    def __str__(self) -> str:
        return f"{self.text[:90]} #{self.time}"


def normalised(statement: str) -> str:
    """Return a statement without what differs from run to run."""
    text = re.sub(r"\s+", " ", statement).strip()
    return re.sub(r"\d[\d:.+T-]*", "N", text)


@contextmanager
def listening(heard: Callable[[Place], None]) -> Iterator[None]:
    """Hear every statement of the engine's sessions in this process before it is sent."""
    counts: Counter[str] = Counter()
    mutex = threading.Lock()

    def before(
        _connection: Any, _cursor: Any, statement: str, _values: Any, _context: Any, _many: bool
    ) -> None:
        text = normalised(statement)
        with mutex:
            counts[text] += 1
            occurrence = counts[text]
        if occurrence <= _OCCURRENCES:
            heard(Place(text, occurrence))

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", before)


@dataclass
class Visit:
    """What came of a party's act at its place.

    Attributes:
        came: the step reached the place.
        waited: seconds that the party still needed after the step went on; 0 if it never waited.
        error: how its act failed.
    """

    came: bool = False
    waited: float = 0.0
    error: BaseException | None = None
    thread: threading.Thread | None = field(default=None, repr=False)


@contextmanager
def visiting(scene: Scene, place: Place, act: Callable[[Scene], None]) -> Iterator[Visit]:
    """Let somebody act when the step comes to a place; it goes on when he is done or waits for it.

    The end of the block waits for the act to end.
    """
    visit = Visit()

    def work() -> None:
        try:
            act(scene)
        except BaseException as error:  # It is judged by whoever opened the block.
            visit.error = error
        finally:
            if released:
                visit.waited = time.monotonic() - released[0]

    released: list[float] = []

    def heard(now: Place) -> None:
        if now != place or visit.came:
            return
        visit.came = True
        thread = visit.thread = threading.Thread(target=work, daemon=True)
        thread.start()
        wait_until(
            "the party neither ended nor waited for us",
            lambda: not thread.is_alive() or _blocked(scene),
        )
        if thread.is_alive():
            scene.waited.set()
            released.append(time.monotonic())

    with listening(heard):
        yield visit
    if visit.thread:
        visit.thread.join(60)
        if visit.thread.is_alive():
            raise GivenUp("the party's act never ended")


def _blocked(scene: Scene) -> bool:
    return scene.blocked()
