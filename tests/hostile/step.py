"""Carrying out a step, here or in a process that is killed at one of its statements."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from maintenance import wait_until
from prefect_maintenance.execute import copy
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS
from prefect_maintenance.run.outcome import Outcome

from .neighbour import listening
from .place import Place
from .scene import LIMIT, OURS, Scene

# So small that the logs are copied in several pieces.
PIECE = 500


def carry_out(step: str, asked: Mapping[str, Any]) -> Outcome:
    """Carry out a step; what keeps it from beginning is raised."""
    return STEPS[step](Settings.parse(asked, check=False), Pace())


@contextmanager
def small_pieces() -> Iterator[None]:
    """Let a rewrite copy in pieces of some hundred rows."""
    usual = copy._PIECE
    copy._PIECE = PIECE
    try:
        yield
    finally:
        copy._PIECE = usual


# Children are forked from a process that has imported all that they need and done nothing else.
_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.hostile.cases"])


def kill_at(scene: Scene, place: Place) -> bool:
    """Carry out the step in a process that is killed at a place; tells whether it got there."""
    ours, theirs = _FORKS.Pipe()
    process = _FORKS.Process(target=child, args=(theirs, scene.step, scene.request, place))
    process.start()
    theirs.close()
    try:
        came = bool(ours.recv())
    except EOFError:  # It failed before, and has said why on its standard error.
        came = False
    process.kill()
    process.join()
    ours.close()
    sessions = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        f"AND application_name LIKE '{OURS}'"
    )
    wait_until(lambda: not scene.ask(sessions), LIMIT, "the session of a killed process lives on")
    return came


def child(tell: Connection, step: str, asked: Mapping[str, Any], place: Place) -> None:
    """Carry out a step, and stay for ever at a place after telling that it is reached."""

    def heard(now: Place, _at: int) -> None:
        if now == place:
            tell.send(True)
            threading.Event().wait()

    with small_pieces(), listening(heard):
        carry_out(step, asked)
    tell.send(False)
