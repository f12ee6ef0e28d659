"""Stopping a step at one of its statements, so that somebody else can act there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import sqlalchemy as sa
from maintenance import GivenUp, wait_until

from .place import Place, normalised, sender, tables_of
from .scene import LIMIT, Scene

# Seconds in which a session that holds a table for long has to give way.
_GIVE_WAY = 3.0


def backend(connection: sa.Connection) -> int:
    """Return the process id of a session's backend."""
    driver: Any = connection.connection.driver_connection
    return int(driver.info.backend_pid)


@contextmanager
def listening(heard: Callable[[Place, int], None]) -> Iterator[None]:
    """Hear every statement of the engine's sessions in this process before it is sent.

    `heard` gets the place, and the process id of the session's backend.
    """
    counts: Counter[tuple[str, str]] = Counter()
    mutex = threading.Lock()

    def before(
        connection: sa.Connection,
        _cursor: Any,
        statement: str,
        values: Any,
        _context: Any,
        _many: bool,
    ) -> None:
        sent = normalised(statement, tables_of(values)), sender()
        with mutex:
            counts[sent] += 1
            place = Place(*sent, counts[sent])
        heard(place, backend(connection))

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
        stubborn: it waited for a session of ours that was not at the place and did not give way.
        error: how its act failed.
    """

    came: bool = False
    waited: float = 0.0
    stubborn: bool = False
    error: BaseException | None = None
    thread: threading.Thread | None = field(default=None, repr=False)


@contextmanager
def visiting(scene: Scene, place: Place, act: Callable[[Scene], None]) -> Iterator[Visit]:
    """Let somebody act when the step comes to a place; it goes on when he is done or waits for it.

    Where he waits for a session of ours that holds something for long, that session has some
    seconds to give way before the step goes on. The end of the block waits for the act to end.
    """
    visit = Visit()
    released: list[float] = []
    step = threading.current_thread()

    def work() -> None:
        try:
            act(scene)
        except BaseException as error:  # It is judged by whoever opened the block.
            visit.error = error
        finally:
            if released:
                visit.waited = time.monotonic() - released[0]

    def heard(now: Place, at: int) -> None:
        if now != place or visit.came:
            return
        visit.came = True
        thread = visit.thread = threading.Thread(target=work, daemon=True)
        thread.start()

        def may_go_on() -> bool:
            return not thread.is_alive() or scene.polled.is_set() or bool(_blockers(scene))

        wait_until(may_go_on, LIMIT, "the party neither ended nor waited for us")
        # The swap's own session is at the place, and a watcher cannot watch while it is held.
        if thread.is_alive() and threading.current_thread() is step:
            until = time.monotonic() + _GIVE_WAY
            while thread.is_alive() and _blockers(scene) - {at}:
                if time.monotonic() > until:
                    visit.stubborn = True
                    break
                time.sleep(0.02)
        if thread.is_alive():
            scene.waited.set()
            released.append(time.monotonic())

    with listening(heard):
        yield visit
    if visit.thread:
        visit.thread.join(60)
        if visit.thread.is_alive():
            raise GivenUp("the party's act never ended")


def _blockers(scene: Scene) -> set[int]:
    try:
        return scene.blockers()
    except psycopg2.OperationalError:
        # The server restarts, which is the party's act: it has not ended.
        return set()
