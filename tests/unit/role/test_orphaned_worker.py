"""A worker of Ansible that nobody takes a result from any more ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from lab.environments import ROOT

PLUGIN = ROOT / "roles" / "prefect_maintenance" / "action_plugins" / "prefect_db_bloat_info.py"
# The first process forks a worker, which is interrupted or done and writes more than a pipe takes,
# and a sibling that holds the pipe open; then it ends.
SCENE = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("plugin", sys.argv[1])
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)
read, write = os.pipe()
if os.fork() == 0:
    os.close(1)
    signal.pause()
go_read, go_write = os.pipe()
worker = os.fork()
if worker == 0:
    try:
        with plugin._interruptible():
            if sys.argv[2] == "interrupted":
                os.write(go_write, b"x")
                signal.pause()
    except KeyboardInterrupt:
        pass
    os.write(go_write, b"x")
    os.write(write, b"x" * 10_000_000)
os.read(go_read, 1)
if sys.argv[2] == "interrupted":
    os.kill(worker, signal.SIGTERM)
os.close(1)
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize("worker", ["interrupted", "done"])
def test_a_worker_ends_with_the_process_that_takes_its_result(worker: str) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", SCENE, str(PLUGIN), worker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    group = os.getpgid(first.pid)
    try:
        # Returns once every process has ended that holds the standard output.
        first.communicate()
        assert first.returncode == 0
    finally:
        os.killpg(group, signal.SIGKILL)
