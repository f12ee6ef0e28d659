"""A run whose connection is cut goes on; one whose controller is gone ends at the next batch."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, wait_until
from rollout import Rollout

from lab.postgres import Postgres
from lab.server import PrefectServer
from lab.ssh import SshTarget, Unavailable

HOST = "far.example.com"
ROWS = 500
OLD_LOGS = f"""
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, 'm', now() - interval '90 days' - n * interval '1 second'
FROM generate_series(1, {ROWS}) n
"""
# A purge reads the heap in order, and this one came first.
FIRST = "SELECT id FROM log ORDER BY timestamp DESC LIMIT 1 FOR UPDATE"
HELD = """
SELECT application_name FROM pg_stat_activity WHERE datname = 'shared'
AND wait_event_type = 'Lock' AND application_name LIKE 'prefect-maintenance%'
"""
# However busy the machine is, what is waited for comes before that.
SECONDS = 400


@dataclass
class Far:
    """A server that is reached over SSH, and a run that waits there within its first batch."""

    server: PrefectServer
    target: SshTarget
    rollout: Rollout
    cluster: Postgres
    lines: list[str] = field(default_factory=list)

    @contextmanager
    def held(self, **environment: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
        """Hold the first batch of a run until the end of the block.

        Yields the run and the process of the module; what it shows comes to be in `lines`.
        """
        engine = engine_for(self.server.db_url)
        with engine.connect() as holder:
            holder.execute(sa.text(FIRST))
            run = subprocess.Popen(
                self.rollout.command(), cwd=self.rollout.folder, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env={**self.rollout.environment(), **self.target.environment(), **environment},
            )  # fmt: skip
            assert run.stdout is not None
            reader = threading.Thread(target=self.lines.extend, args=(run.stdout,))
            reader.start()
            try:
                found = wait_until(
                    lambda: self.cluster.execute(HELD) or run.poll() is not None, SECONDS
                )
                assert isinstance(found, list), self.shown
                wait_until(lambda: "[far.example.com] " in self.shown, SECONDS)
                yield run, int(found[0][0].rsplit(" ", 1)[1])
            except BaseException:
                run.kill()
                raise
            finally:
                holder.rollback()
                run.wait(SECONDS)
                reader.join()
        engine.dispose()

    def left_behind(self) -> set[Path]:
        """Return the folders in which modules go on."""
        return set((self.target.home / ".ansible" / "tmp").glob("prefect-maintenance-*"))

    @property
    def shown(self) -> str:
        return "".join(self.lines)

    def logs(self) -> int:
        engine = engine_for(self.server.db_url)
        with engine.connect() as connection:
            left = connection.execute(sa.text("SELECT count(*) FROM log")).scalar_one()
        engine.dispose()
        return int(left)


@pytest.fixture(scope="module")
def target() -> Iterator[SshTarget]:
    try:
        target = SshTarget(HOST, own=True).__enter__()
    except Unavailable as why:
        pytest.skip(str(why))
    try:
        yield target
    finally:
        target.__exit__(None, None, None)


@pytest.fixture
def far(
    shared_server: PrefectServer, target: SshTarget, cluster: Postgres, tmp_path: Path
) -> Iterator[Far]:
    engine = engine_for(shared_server.db_url)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(OLD_LOGS))
    host: dict[str, Any] = {
        "ansible_connection": "ssh",
        "ansible_user": target.login,
        "prefect_maintenance_api_url": shared_server.api_url,
        "prefect_maintenance_db_url": shared_server.db_url,
        "prefect_maintenance_purge_strategy": "delete",
        "prefect_maintenance_batch_size": 5,
        "prefect_maintenance_lock_timeout": 3600,
        "prefect_maintenance_progress": 1,
    }
    yield Far(shared_server, target, Rollout(tmp_path, {HOST: host}), cluster)
    clear(engine)
    engine.dispose()


@pytest.mark.parametrize("pipelining", ["true", "false"])
def test_a_run_goes_on_when_the_connection_was_cut_in_the_middle(far: Far, pipelining: str) -> None:
    before = far.left_behind()
    with far.held(ANSIBLE_PIPELINING=pipelining) as (run, _):
        far.target.cut()
        try:
            wait_until(lambda: "the connection has been lost for" in far.shown, SECONDS)
        finally:
            far.target.listen()
    assert run.returncode == 0, far.shown
    assert far.rollout.statuses() == {HOST: "ok"}
    assert far.rollout.fleet()["deleted"] == {"log": ROWS}
    assert far.logs() == 0
    assert far.left_behind() == before


def test_a_step_that_nobody_reaches_any_more_stops_at_the_next_batch(far: Far) -> None:
    before = far.left_behind()
    try:
        with far.held(PREFECT_MAINTENANCE_GONE_AFTER="3") as (run, module):
            (folder,) = far.left_behind() - before
            far.target.cut()
            run.wait(SECONDS)
            # Nobody has shown a sign of life for longer than the step waits for one.
            cut_at = (folder / "alive").stat().st_mtime
            (folder / "witness").touch()
            wait_until(lambda: _touched(folder / "witness") - cut_at > 6, SECONDS)
        wait_until(lambda: not Path(f"/proc/{module}").exists(), SECONDS)
    finally:
        far.target.listen()
    assert run.returncode == 2
    assert "the connection to the server was lost" in far.shown
    assert 0 < far.logs() < ROWS
    wait_until(lambda: far.left_behind() == before, SECONDS)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_step_whose_controller_is_ended_stops_at_the_next_batch(
    far: Far, number: signal.Signals
) -> None:
    before = far.left_behind()
    with far.held(ANSIBLE_VERBOSITY="4") as (run, module):
        (folder,) = far.left_behind() - before
        workers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        os.kill(run.pid, number)
        wait_until(lambda: not (folder / "alive").exists(), SECONDS)
        # Nobody takes what a worker would say of it.
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), SECONDS)
    assert workers
    wait_until(lambda: not Path(f"/proc/{module}").exists(), SECONDS)
    assert 0 < far.logs() < ROWS
    wait_until(lambda: far.left_behind() == before, SECONDS)


def _touched(path: Path) -> float:
    path.touch()
    return path.stat().st_mtime
