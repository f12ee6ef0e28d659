"""Read from a server all the time, as open dashboards do, in a process of its own.

It reads until its input ends, and then prints the milliseconds of each read.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

# Seconds between two reads.
EVERY = 0.05


@contextmanager
def reader(api_url: str) -> Iterator[list[float]]:
    """Read until the end of the block; the list has the milliseconds of each read afterwards."""
    latencies: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.reader", api_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield latencies
        finally:
            told, _ = process.communicate()
            latencies += json.loads(told)


def main() -> None:
    """Read the newest runs again and again, the first time before the clock runs."""
    url, done = f"{sys.argv[1]}/flow_runs/filter", threading.Event()
    latencies: list[float] = []

    def await_the_end() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=await_the_end, daemon=True).start()
    body = json.dumps({"sort": "START_TIME_DESC", "limit": 20}).encode()
    headers = {"Content-Type": "application/json"}
    while not done.wait(EVERY):
        began = time.monotonic()
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            answer.read()
        if not latencies:
            print("ready", flush=True)
        latencies.append(1000 * (time.monotonic() - began))
    print(json.dumps(latencies[1:]))


if __name__ == "__main__":
    main()
