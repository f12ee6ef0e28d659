"""A worker of Ansible that nobody takes a result from any more ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from lab.environments import ROOT

PLUGIN = ROOT / "roles" / "prefect_maintenance" / "action_plugins" / "prefect_db_bloat_info.py"
# The first process forks a worker, which is interrupted and then writes more than a pipe takes,
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
            os.write(go_write, b"x")
            signal.pause()
    except KeyboardInterrupt:
        os.write(write, b"x" * 10_000_000)
os.read(go_read, 1)
os.kill(worker, signal.SIGTERM)
os.close(1)
sys.stdin.read()
os._exit(0)
"""


def test_a_worker_that_was_interrupted_ends_with_the_process_that_takes_its_result() -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", SCENE, str(PLUGIN)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    group = os.getpgid(first.pid)
    try:
        # Returns once every process has ended that holds the standard output.
        first.communicate(timeout=60)
        assert first.returncode == 0
    finally:
        os.killpg(group, signal.SIGKILL)
