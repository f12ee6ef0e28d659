"""Prometheus with its tools and node_exporter, as Debian packages them, for tests and pictures."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import debian
from .postgres import free_port

_PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "prometheus-node-exporter": "prometheus-node-exporter",
}
JOB = "node"


class Unavailable(Exception):
    """This machine has no such program and cannot fetch it."""


def program(name: str) -> Path:
    """Return one of the programs, fetched on first use.

    Raises:
        Unavailable: it is no Debian, or its packages cannot be reached.
    """
    home = debian.unpacked(_PACKAGES[name])
    if home is None:
        raise Unavailable(f"Debian's package {_PACKAGES[name]} cannot be had here")
    return home / "usr" / "bin" / name


def promtool(*arguments: str | Path, text: str | None = None) -> str:
    """Run promtool and return all that it says.

    Args:
        arguments: its own.
        text: given to its standard input.

    Raises:
        RuntimeError: it found something wrong.
    """
    done = subprocess.run(
        [program("promtool"), *arguments], input=text, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout + done.stderr


@contextmanager
def node_exporter(folder: Path) -> Iterator[str]:
    """Serve the files of a textfile collector's folder; yields the address, as a target has it."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        str(program("prometheus-node-exporter")),
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={folder}",
        f"--web.listen-address={address}",
    ]
    with _running(command, f"http://{address}/metrics"):
        yield address


@dataclass(frozen=True)
class Prometheus:
    """A server that answers queries."""

    url: str

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the series that answer a query, now or at an instant in unix time."""
        more = {} if at is None else {"time": str(at)}
        return self._answer("query", {"query": expression, **more})

    def query_range(
        self, expression: str, start: float, end: float, step: float
    ) -> list[dict[str, Any]]:
        """Return the series that answer a query between two instants."""
        asked = {"query": expression, "start": str(start), "end": str(end), "step": str(step)}
        return self._answer("query_range", asked)

    def _answer(self, what: str, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(address) as response:
            found: list[dict[str, Any]] = json.load(response)["data"]["result"]
        return found


@contextmanager
def prometheus(
    *targets: str, rules: Path | None = None, every: str = "200ms", openmetrics: str = ""
) -> Iterator[Prometheus]:
    """Run Prometheus for as long as the block lasts.

    Args:
        targets: addresses that it scrapes as the job `JOB`.
        rules: a file of rules that it evaluates.
        every: how often it scrapes and evaluates.
        openmetrics: a history that it begins with.
    """
    with tempfile.TemporaryDirectory(prefix="prefect-lab-prometheus-") as temporary:
        folder, address = Path(temporary), f"127.0.0.1:{free_port()}"
        if openmetrics:
            (folder / "history").write_text(openmetrics)
            given = folder / "history", folder / "data"
            promtool("tsdb", "create-blocks-from", "openmetrics", *given)
        configuration = {
            "global": {"scrape_interval": every, "evaluation_interval": every},
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [
                {
                    "job_name": JOB,
                    "scrape_timeout": every,
                    "static_configs": [{"targets": list(targets)}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        command = [
            str(program("prometheus")),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address={address}",
        ]
        with _running(command, f"http://{address}/-/ready"):
            yield Prometheus(f"http://{address}")


@contextmanager
def _running(command: list[str], address: str) -> Iterator[None]:
    """Run a server until the end of the block, which begins when an address answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 60
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} does not answer:\n{log.read().decode()}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address):
            return True
    except urllib.error.URLError:
        return False
