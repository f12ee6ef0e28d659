# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
"""Follow a step while its module is at work on the target, and say how far it is.

The module goes on there by itself. A connection that is lost for a minute is taken up again; a
controller that is gone for longer, or that was told to end, ends the step at its next batch.
One file serves the four steps; each is an action of the name of its module.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action.normal import ActionModule as Normal
from ansible.utils.display import Display

# The answer of a module that goes on in the background; see its module_utils.
_GOES_ON = "prefect_maintenance_goes_on"
_INTERVAL = "prefect_maintenance_progress"
# The role has reached the server before it sets this.
_REACHED = "__prefect_maintenance_python"
# Seconds without a sign of life after which the module ends; tests wait for less.
_GONE_AFTER = float(os.environ.get("PREFECT_MAINTENANCE_GONE_AFTER") or 90)
# Seconds in which a step may end where Ansible started it.
_SHORT = 5.0
# The controller gives up before the module does.
_LOST_AFTER = _GONE_AFTER * 5 / 6
# Seconds in which a look has its answer, also on a slow target; a dead network gives none at all.
_ANSWERED = 20.0
# Seconds between two looks: at first so many, then in proportion to the time, at most so many.
_SOON, _SHARE, _LATE = 0.1, 0.05, 2.0

# Renews the sign of life and says how far the module is, or gives its answer at the end.
_LOOK = """
cd {folder} || { echo none; exit 0; }
if [ ! -f ended ] && kill -0 "$(cat pid)" 2>/dev/null
then [ ! -f alive ] || touch alive; echo running; cat progress 2>/dev/null || true
else echo "ended $(cat ended 2>/dev/null || echo 137)"; cat errors >&2; cat result; fi
"""

Answer = dict[str, Any]
Execute = Callable[[str], Answer]


class Follower:
    """Follows a module that goes on in a folder of the target.

    Args:
        execute: carries out a command there.
        hang_up: lets the next command make a connection of its own.
        say: shows where the module is.
        folders: words of a shell; the module made one of them.
    """

    def __init__(
        self,
        execute: Execute,
        hang_up: Callable[[], None],
        say: Callable[[str], None],
        folders: list[str],
    ) -> None:
        self._execute, self._hang_up, self._say, self.folders = execute, hang_up, say, folders
        self._answered = time.monotonic()

    def follow(self) -> Answer | None:
        """Wait until the module has ended; returns its answer, or nothing when it never began.

        Raises:
            AnsibleConnectionFailure: the target was out of reach for too long.
        """
        began, parent = time.monotonic(), os.getppid()
        while (answer := self._look())["stdout"].startswith("running"):
            self._say(answer["stdout"].partition("\n")[2].strip() or "starting")
            # A worker of Ansible outlives the process that a person ends. Nobody is left to
            # take its result: to give it on would keep it waiting for ever.
            if os.getppid() != parent:
                self.give_up()
                os._exit(1)
            time.sleep(min(_LATE, max(_SOON, _SHARE * (time.monotonic() - began))))
        said, _, told = answer["stdout"].partition("\n")
        if said.startswith("none"):
            return None
        code = int(said.split()[1])
        return {**answer, "rc": code, "stdout": told, "stdout_lines": told.splitlines()}

    def give_up(self) -> None:
        """Tell the module that nobody follows it any more."""
        self._execute("; ".join(f"rm -f {folder}/alive" for folder in self.folders))

    def clean_up(self) -> None:
        """Leave nothing behind on the target; a target out of reach does so by itself."""
        try:
            self._execute(f"rm -rf {' '.join(self.folders)}")
        except AnsibleConnectionFailure as error:
            Display().vvv(f"the module removes its files by itself: {error}")

    def _look(self) -> Answer:
        while True:
            try:
                with _at_most(_ANSWERED):
                    answer = self._execute(_LOOK.strip().replace("{folder}", self._within()))
            except AnsibleConnectionFailure as error:
                why = str(error)
                self._hang_up()
            else:
                if answer["stdout"].startswith(("running", "ended ", "none")):
                    self._answered = time.monotonic()
                    return answer
                why = answer["stderr"] or answer["stdout"]
            lost = time.monotonic() - self._answered
            if lost > _LOST_AFTER:
                raise AnsibleConnectionFailure(f"the connection was lost for {lost:.0f} s: {why}")
            self._say(f"the connection has been lost for {lost:.0f} s, the step goes on")
            time.sleep(1)

    def _within(self) -> str:
        return " 2>/dev/null || cd ".join(self.folders) + " 2>/dev/null"


class ActionModule(Normal):  # type: ignore[misc]
    """What Ansible calls for a task of the module."""

    _follower: Follower | None = None

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Carry out the module; the result is its own."""
        asked, variables = self._task.args, task_vars or {}
        # Whoever asks for Ansible's own background work gets that.
        if not self._task.async_val:
            name = f"prefect-maintenance-{secrets.token_hex(16)}"
            remote = self.get_shell_option("remote_tmp", default="~/.ansible/tmp")
            folders = [f"{base}/{name}" for base in (remote, "/var/tmp", "/tmp")]
            interval = 0.0 if self._task.no_log else float(variables.get(_INTERVAL, 5))
            # Nothing is said of a step that is shorter than that.
            short = min(interval or _SHORT, _SHORT)
            background = {"folders": folders, "gone_after": _GONE_AFTER, "short": short}
            self._task.args = {**asked, "background": background}
            self._reached = _REACHED in variables
            say = _speaker(variables, interval)
            self._follower = Follower(
                super()._low_level_execute_command, self._hang_up, say, folders
            )
        try:
            with _interruptible():
                result: dict[str, Any] = super().run(tmp, task_vars)
        finally:
            self._task.args = asked
        return result

    def _hang_up(self) -> None:
        # What is shared by several commands would hang for all of them.
        if self._connection.transport == "ssh":
            self._connection.reset()

    def _low_level_execute_command(self, cmd: str, *more: Any, **named: Any) -> Answer:
        """Answer as the module does in the end, where it goes on in the background."""
        follower = self._follower
        if follower is None or not (named.get("in_data") or "AnsiballZ_" in cmd):
            return dict(super()._low_level_execute_command(cmd, *more, **named))
        try:
            answer = dict(super()._low_level_execute_command(cmd, *more, **named))
        except AnsibleConnectionFailure:
            # The module may have begun all the same.
            ended = _to_its_end(follower) if self._reached else None
            if ended is None:
                raise
            return ended
        except BaseException:
            follower.give_up()
            raise
        folder = _goes_on(answer["stdout"])
        if folder is None:
            return answer
        follower.folders = [shlex.quote(folder)]
        gone = {**answer, "rc": 1, "stdout": "", "stderr": f"{folder} is gone"}
        return _to_its_end(follower) or gone


def _to_its_end(follower: Follower) -> Answer | None:
    try:
        answer = follower.follow()
    except AnsibleConnectionFailure:
        raise
    except BaseException:
        follower.give_up()
        raise
    if answer is not None:
        follower.clean_up()
    return answer


def _goes_on(output: str) -> str | None:
    """Return the folder in which the module goes on, if it does."""
    for line in output.splitlines():
        if line.startswith(f'{{"{_GOES_ON}"'):
            return str(json.loads(line)[_GOES_ON])
    return None


def _speaker(variables: dict[str, Any], interval: float) -> Callable[[str], None]:
    """Return what shows a line for the host, if the last one is long enough ago."""
    hosts = variables.get("ansible_play_batch") or [variables["inventory_hostname"]]
    width = max(len(host) for host in hosts) + 2
    prefix = f"[{variables['inventory_hostname']}]".ljust(width)
    last = time.monotonic()

    def say(line: str) -> None:
        nonlocal last
        if interval and time.monotonic() - last >= interval:
            last = time.monotonic()
            Display().display(f"{prefix} {line}")

    return say


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Let a command that gets no answer raise, unless the task has an alarm of its own."""
    own = threading.current_thread() is threading.main_thread()
    if not own or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def late(_number: int, _frame: object) -> None:
        raise AnsibleConnectionFailure(f"there was no answer in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a signal that ends the worker raise first, so that the module can be told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        watch()
        raise KeyboardInterrupt

    def watch() -> None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()

    parent = os.getppid()
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        # From here on the result is given on.
        watch()


def _end_with(parent: int) -> None:
    """End the worker once the process is gone that takes its result.

    Other workers hold the pipe to it open, so that writing a long result would never end.
    """
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
