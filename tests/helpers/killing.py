"""A compaction in a process of its own, which is killed when it comes to one of its statements."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any
from unittest.mock import patch

from compacting import compact_table
from prefect_maintenance.database.connection import Database


@dataclass(frozen=True)
class Place:
    """A statement, whatever its numbers are, and how often it has come by then."""

    text: str
    time: int


@contextmanager
def listening(heard: Callable[[Place], object]) -> Iterator[None]:
    """Hear each statement of all sessions of this process before it is sent."""
    counts: Counter[str] = Counter()
    mutex = Lock()

    def before(really: Callable[..., Any]) -> Callable[..., Any]:
        def send(self: Database, sql: str, *values: Any) -> Any:
            text = re.sub(r"\d+", "N", " ".join(sql.split()))
            with mutex:
                counts[text] += 1
                heard(Place(text, counts[text]))
            return really(self, sql, *values)

        return send

    with (
        patch.object(Database, "_execute", before(Database._execute)),
        patch.object(Database, "_plain", before(Database._plain)),
    ):
        yield


def places(url: str) -> list[Place]:
    """Compact the table; returns each of its statements at the first, second and last time."""
    came: list[Place] = []
    with listening(came.append):
        compact_table(url)
    last = {place.text: place.time for place in came}
    return [place for place in came if place.time in (1, 2, last[place.text])]


def killed_at(url: str, place: Place) -> bool:
    """Compact the table until a place, where SIGKILL ends the process; tells whether it came."""
    process = multiprocessing.get_context("fork").Process(target=_deadly, args=(url, place))
    process.start()
    process.join()
    return process.exitcode == -signal.SIGKILL


def _deadly(url: str, deadly: Place) -> None:
    def heard(place: Place) -> None:
        if place == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    with listening(heard):
        compact_table(url)
