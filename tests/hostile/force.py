"""Those who end sessions, processes and servers, fill disks, move clocks, or do the same job."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from datetime import datetime, timedelta, tzinfo
from typing import Self

from maintenance import SmallDisk
from prefect_maintenance.errors import Busy
from prefect_maintenance.pace.pace import Pace
from prefect_maintenance.request.settings import Settings
from prefect_maintenance.run.line import STEPS

from lab.postgres import PASSWORD

from .parties import Party
from .scene import COUNTED, OTHERS, OURS, Scene

# An attempt at a lock that runs out breaks pg_repack's own transaction, and that ends it.
_LOST = "current transaction is aborted"
_SESSIONS = (
    f"FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '{OURS}'"
)


def terminate(scene: Scene) -> None:
    scene.ask(f"SELECT pg_terminate_backend(pid) {_SESSIONS}")


def cancel(scene: Scene) -> None:
    """Cancel the first statement that is found running, from now on."""

    def lie_in_wait() -> None:
        opened = scene.connect("hostile-observer")
        with opened.cursor() as cursor:
            while not scene.over.is_set():
                cursor.execute(f"SELECT pg_cancel_backend(pid) {_SESSIONS} AND state = 'active'")
                if cursor.rowcount:
                    break
        opened.close()

    thread = threading.Thread(target=lie_in_wait, daemon=True)
    thread.start()
    scene.ending.append(thread.join)


def nothing(_scene: Scene) -> None:
    """The step's process is killed by whoever runs it."""


def restart(scene: Scene) -> None:
    scene.unsure = True
    scene.cluster.restart()


def fill_disk(scene: Scene) -> None:
    disk = scene.disk
    assert isinstance(disk, SmallDisk)
    scene.ending.append((disk.folder / "ballast").unlink)
    try:
        disk.fill(leave=64 * 1024)
    except OSError as full:
        # The step took the last room while it was filled: that is what was wanted.
        if full.errno != errno.ENOSPC:
            raise


class _AnyInstant(type):
    """Takes every instant for one of the moved clock."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


class _Ahead(datetime, metaclass=_AnyInstant):
    """The clock of a target that is twenty years ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(days=20 * 365)


def move_clock(scene: Scene) -> None:
    moved = [
        module
        for name, module in sys.modules.items()
        if name.startswith("prefect_maintenance.") and getattr(module, "datetime", None) is datetime
    ]
    for module in moved:
        module.datetime = _Ahead  # type: ignore[attr-defined]

    def put_right() -> None:
        for module in moved:
            module.datetime = datetime  # type: ignore[attr-defined]

    scene.ending.append(put_right)


def second_runner(scene: Scene) -> None:
    try:
        outcome = STEPS[scene.step](Settings.parse(scene.request, check=False), Pace())
    except Busy:
        return
    # It came before the first had its place, or after: then it did the work and says so.
    for table in COUNTED:
        scene.balance[table] -= outcome.report.deleted.get(table, 0)
    if outcome.error and not isinstance(outcome.error, Busy):
        raise outcome.error


def repack(scene: Scene) -> None:
    """Run pg_repack; who meant it begins it again where it has lost a lock to somebody."""
    ended, said = _repack(scene)
    if ended and _LOST in said:
        ended, said = _repack(scene)
    if ended:
        raise RuntimeError(f"pg_repack ended with {ended}: {said}")


def _repack(scene: Scene) -> tuple[int, str]:
    command = [
        scene.cluster.program("pg_repack"), "-h", "127.0.0.1", "-p", str(scene.cluster.port),
        "-U", "postgres", "-d", scene.name, "-t", "public.log", "--no-superuser-check",
    ]  # fmt: skip
    environment = {**os.environ, "PGPASSWORD": PASSWORD, "PGAPPNAME": OTHERS}
    said = []
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            said.append(line)
            if line.startswith("NOTICE: Waiting for"):
                scene.polled.set()
    return process.returncode, "".join(said)


FORCE = (
    Party(
        "pg_repack",
        repack,
        before=("CREATE EXTENSION pg_repack",),
        schema=("CREATE EXTENSION pg_repack",),
        needs="repack",
        # It keeps its lock on the table until it is done, for longer than a step waits.
        interrupts=True,
    ),
    Party("backend terminated", terminate, interrupts=True),
    Party("backend cancelled", cancel, interrupts=True),
    Party("SIGKILL", nothing, interrupts=True, child=True),
    Party("server restart", restart, interrupts=True),
    Party("full disk", fill_disk, needs="disk", interrupts=True),
    Party("target's clock moved", move_clock),
    Party("second runner", second_runner, interrupts=True),
)
