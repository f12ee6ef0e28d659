"""A module goes on in the background, where a lost connection does not end it.

The process that Ansible started waits for a short step and gives its result on as if it had
done the work itself. Of a longer one it says where it goes on: in a folder that only its user
can open, with how far it is, in the end its result, and the sign of life of whoever follows it.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ansible.module_utils.prefect_maintenance.pace.heartbeat import Heartbeat

# How the process that Ansible started says that the module goes on elsewhere.
GOES_ON = "prefect_maintenance_goes_on"
# The files of the folder; the code with which the module ended is written last.
ALIVE, PROGRESS, RESULT, ERRORS, PID, ENDED = (
    "alive", "progress", "result", "errors", "pid", "ended",
)  # fmt: skip
# Seconds between two looks at the sign of life.
_LOOK = 1.0


def go_on(
    folders: Sequence[str], short: float, watched: Callable[[Path], Heartbeat]
) -> Path | None:
    """Go on as a process of its own; only that one returns.

    Args:
        folders: where the files may lie; the first that can be made is taken.
        short: seconds in which a step may end where Ansible started it.
        watched: makes what watches the sign of life.

    Returns:
        The folder; nothing when none could be made, and the module stays where it is.
    """
    folder = _made(folders)
    if folder is None:
        return None
    (folder / ALIVE).touch()
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        _give_on(folder, reader, short)
    os.close(reader)
    # A session of its own gets no signal when the connection is closed.
    os.setsid()
    (folder / PID).write_text(str(os.getpid()))
    if worker := os.fork():
        _redirect(os.devnull, os.devnull)
        _see_to_the_end(worker, writer, folder, watched(folder / ALIVE))
    os.close(writer)
    _redirect(folder / RESULT, folder / ERRORS)
    return folder


@contextmanager
def told(folder: Path, heartbeat: Heartbeat, line: Callable[[], str]) -> Iterator[None]:
    """Write down how far the step is, and look for a sign of life, until the end of the block."""
    ended = threading.Event()

    def tell() -> None:
        before = ""
        while not ended.wait(_LOOK):
            heartbeat.look()
            if (now := line()) != before:
                _write(folder / PROGRESS, now)
                before = now

    heartbeat.look()
    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _made(folders: Sequence[str]) -> Path | None:
    for name in folders:
        folder = Path(os.path.expandvars(name)).expanduser()
        try:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
        except OSError:
            continue
        return folder
    return None


def _give_on(folder: Path, reader: int, short: float) -> NoReturn:
    """End as the module did, or say where it goes on; nothing but the exit is left to do."""
    select.select([reader], [], [], short)
    code = 0
    try:
        ended = (folder / ENDED).read_text()
    except FileNotFoundError:
        told = f"{json.dumps({GOES_ON: str(folder)})}\n".encode()
    else:
        code, told = int(ended), (folder / RESULT).read_bytes()
        _put(2, (folder / ERRORS).read_bytes())
        # Who saw to the end removes the folder too, as soon as the sign of life in it is gone.
        shutil.rmtree(folder, ignore_errors=True)
    _put(1, told)
    # The files of the module itself serve the one that goes on, which removes them.
    os._exit(code)


def _see_to_the_end(worker: int, writer: int, folder: Path, heartbeat: Heartbeat) -> NoReturn:
    """Wait until the module has ended and its result was fetched, or nobody comes for it."""
    _, status = os.waitpid(worker, 0)
    code = os.waitstatus_to_exitcode(status)
    # As a shell says it of a program that a signal ended.
    _write(folder / ENDED, str(code if code >= 0 else 128 - code))
    os.close(writer)
    heartbeat.look()
    while folder.exists() and not heartbeat.gone:
        time.sleep(_LOOK)
        heartbeat.look()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _write(path: Path, text: str) -> None:
    """Write a file that readers find either as it was or whole."""
    beside = path.with_suffix(".new")
    try:
        beside.write_text(text)
        beside.replace(path)
    except FileNotFoundError:
        # The folder is gone with whoever followed; the sign of life ends the step.
        return


def _put(descriptor: int, told: bytes) -> None:
    while told:
        told = told[os.write(descriptor, told) :]


def _redirect(output: str | Path, errors: str | Path) -> None:
    for descriptor, path in ((0, os.devnull), (1, output), (2, errors)):
        flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
