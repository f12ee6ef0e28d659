"""The screen of a run: the step at work stands there, little before it, each failure once."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import clear, engine_for, wait_until
from quick_python import quick_python
from sites import Site

from lab.environments import ROOT
from lab.postgres import Postgres, free_port
from lab.server import PrefectServer

# However busy the machine is, what is waited for comes before that.
SECONDS = 400
OLD_LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, 'm', now() - interval '90 days' - n * interval '1 second'
FROM generate_series(1, 100) n
"""
OLDEST = "SELECT id FROM log ORDER BY timestamp LIMIT 1 FOR UPDATE"
HELD = """
SELECT pid FROM pg_stat_activity WHERE datname = 'shared' AND wait_event_type = 'Lock'
AND application_name LIKE 'prefect-maintenance%'
"""


class Screen(Site):
    """A site whose plays are watched line by line, with the configuration of the checkout."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}

    @contextmanager
    def watched(self, playbook: str, *options: str) -> Iterator[list[str]]:
        """Run a playbook until the end of the block; gives the lines that it has shown so far."""
        lines: list[str] = []
        process = subprocess.Popen(
            self.command(playbook, *options), cwd="/", env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        output = process.stdout
        reader = threading.Thread(target=lambda: lines.extend(output))
        reader.start()
        try:
            yield lines
            assert process.wait(SECONDS) == 0, "".join(lines)
        finally:
            process.kill()
            process.wait()
            reader.join()


def banner(task: str) -> Callable[[str], bool]:
    return lambda line: line.startswith(f"TASK [prefect_maintenance : {task}]")


def shown(lines: list[str], task: str) -> list[int]:
    """Return the numbers of the lines that announce a task."""
    return [number for number, line in enumerate(lines) if banner(task)(line)]


@pytest.fixture
def screen(shared_server: PrefectServer, tmp_path: Path) -> Iterator[Screen]:
    engine = engine_for(shared_server.db_url)
    clear(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(OLD_LOGS))
    yield Screen(shared_server, tmp_path)
    clear(engine)
    engine.dispose()


def test_a_long_step_stands_on_the_screen_while_it_is_at_work(
    screen: Screen, cluster: Postgres
) -> None:
    screen.variables = {
        "prefect_maintenance_purge_strategy": "delete", "prefect_maintenance_lock_timeout": 3600,
        "prefect_maintenance_progress": 1,
    }  # fmt: skip
    engine, task = engine_for(screen.server.db_url), "Purge logs, events and orphans"
    with engine.connect() as holder:
        holder.execute(sa.text(OLDEST))
        with screen.watched("maintain") as lines:
            wait_until(lambda: cluster.execute(HELD), SECONDS)
            wait_until(lambda: shown(lines, task), 30)
            wait_until(lambda: sum(line.startswith("[demo] purge") for line in lines) > 1, SECONDS)
            holder.rollback()
    engine.dispose()
    (at,) = shown(lines, task)
    done = lines.index("changed: [demo]\n", at)
    assert all(line.startswith("[demo] ") for line in lines[at + 1 : done]), lines
    assert shown(lines, "Measure the database")[0] <= 12, lines


@pytest.mark.parametrize("interval", [0, 1])
def test_the_installation_stands_on_the_screen_while_it_goes_on(
    screen: Screen, interval: int
) -> None:
    gate, begun = screen.folder / "gate", screen.folder / "begun"
    os.mkfifo(gate)
    python = quick_python(screen.folder, pip=f"touch {begun}; cat {gate}")
    screen.variables = {**python, "prefect_maintenance_progress": interval}
    task = "Install Prefect and the database driver"
    with screen.watched("maintain", "--tags", "prefect_maintenance_install") as lines:
        wait_until(begun.exists, SECONDS)
        wait_until(lambda: shown(lines, task), 30)
        if interval:
            wait_until(lambda: lines[-1].startswith(f"[demo] {task}: for "), 30)
        else:
            assert lines[-1].startswith("TASK ["), lines
        gate.write_text("")
    assert shown(lines, "Install Prefect and the database driver")[0] <= 12, lines
    # It is there now, and nothing announces what is not done.
    with screen.watched("maintain", "--tags", "prefect_maintenance_install") as lines:
        pass
    assert shown(lines, task) == []


@pytest.mark.parametrize(
    ("playbook", "wrong", "reason"),
    [
        ("maintain", {"prefect_maintenance_api_url": "http://127.0.0.1:{port}/api"},
         "cannot reach the Prefect API"),
        ("maintain", {"prefect_maintenance_python": "/nonexistent"}, "cannot run the modules"),
        ("report", {"prefect_maintenance_db_url": "postgresql://a:b@127.0.0.1:{port}/x"},
         "cannot connect to the database"),
    ],
)  # fmt: skip
def test_a_failure_is_shown_once_and_in_one_line(
    screen: Screen, playbook: str, wrong: dict[str, Any], reason: str
) -> None:
    screen.variables = {name: text.format(port=free_port()) for name, text in wrong.items()}
    done = screen.play(playbook)
    told = done.stdout + done.stderr
    assert done.returncode == 2, told
    failed = [line for line in told.splitlines() if line.startswith("fatal: [demo]: FAILED! => ")]
    assert len(failed) == 1, told
    assert reason in failed[0]
    assert told.count(reason) == 1, told
    assert "[ERROR]" not in told
    # Whoever wants to know more is shown all of it.
    assert screen.play(playbook, "-v").stdout.count("fatal: [demo]: FAILED!") > 1
