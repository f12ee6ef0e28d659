"""A browser without a window that looks at a page as a person would, and says what it saw."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import debian

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_PACKAGES = ("chromium", "fonts-dejavu-core")
# What Chromium reads commands from and writes answers to; each ends in a zero.
_IN, _OUT = 3, 4
_END = b"\0"
_SIZE = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"


def program() -> str | None:
    """Return Chromium's program; CI as root installs it on Debian."""
    found = _found()
    if not found and os.environ.get("CI") == "true" and debian.install(*_PACKAGES):
        found = _found()
    return found


def _found() -> str | None:
    return next((path for name in _PROGRAMS if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Seen:
    """What a page came to.

    Attributes:
        width: of all that there is to see; more than the window's when something sticks out.
        requests: addresses that the page asked for, its own first.
        complaints: what the browser wrote into its console.
        picture: the whole page as PNG, where that was asked for.
    """

    width: int
    height: int
    requests: tuple[str, ...]
    complaints: tuple[str, ...]
    picture: bytes


class Browser:
    """Chromium with a profile of its own, which ends with the block."""

    def __init__(self, program: str) -> None:
        self._program, self._last = program, 0
        self._events: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(prefix="prefect-lab-browser-")
        commands, self._write = (_high(fd) for fd in os.pipe())
        self._read, answers = (_high(fd) for fd in os.pipe())
        arguments = [
            self._program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--remote-debugging-pipe", "--hide-scrollbars", "--disable-dev-shm-usage",
            "--disable-background-networking", f"--user-data-dir={self._profile.name}",
        ]  # fmt: skip
        self._pid = os.posix_spawn(
            self._program,
            arguments,
            {**os.environ, "HOME": self._profile.name},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, commands, _IN),
                (os.POSIX_SPAWN_DUP2, answers, _OUT),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        for fd in (commands, answers):
            os.close(fd)
        self._from = os.fdopen(self._read, "rb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._send("Browser.close", {}, None)
        os.waitpid(self._pid, 0)
        os.close(self._write)
        self._from.close()
        self._profile.cleanup()

    def look(
        self,
        page: Path,
        *,
        width: int,
        dark: bool = False,
        media: str = "screen",
        picture: bool = False,
    ) -> Seen:
        """Open a file in a window of a width, and wait until it is there."""
        with self._tab() as tab:
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._send(f"{domain}.enable", {}, tab)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            self._send("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]}, tab)
            self._window(tab, width, 900)
            self._events.clear()
            self._send("Page.navigate", {"url": page.resolve().as_uri()}, tab)
            while not any(event["method"] == "Page.loadEventFired" for event in self._events):
                self._events.append(self._receive())
            asked = {"expression": _SIZE, "returnByValue": True}
            wide, high = self._send("Runtime.evaluate", asked, tab)["result"]["value"]
            shot = self._picture(tab, width, high) if picture else b""
            return Seen(wide, high, tuple(self._requests()), tuple(self._complaints()), shot)

    def _picture(self, tab: str, width: int, height: int) -> bytes:
        self._window(tab, width, height)
        return b64decode(self._send("Page.captureScreenshot", {"format": "png"}, tab)["data"])

    @contextmanager
    def _tab(self) -> Iterator[str]:
        target = self._send("Target.createTarget", {"url": "about:blank"}, None)["targetId"]
        attached = self._send("Target.attachToTarget", {"targetId": target, "flatten": True}, None)
        yield str(attached["sessionId"])
        self._send("Target.closeTarget", {"targetId": target}, None)

    def _window(self, tab: str, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._send("Emulation.setDeviceMetricsOverride", size, tab)

    def _requests(self) -> Iterator[str]:
        for event in self._events:
            if event["method"] == "Network.requestWillBeSent":
                yield event["params"]["request"]["url"]

    def _complaints(self) -> Iterator[str]:
        for event in self._events:
            if event["method"] in (
                "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown",
                "Page.javascriptDialogOpening",
            ):  # fmt: skip
                yield json.dumps(event["params"])

    def _send(self, method: str, parameters: Mapping[str, Any], tab: str | None) -> Any:
        """Give a command and return its answer; what happens meanwhile is kept."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": parameters}
        if tab:
            command["sessionId"] = tab
        os.write(self._write, json.dumps(command).encode() + _END)
        while (answer := self._receive()).get("id") != self._last:
            self._events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        message = bytearray()
        while (sign := self._from.read(1)) != _END:
            if not sign:
                raise RuntimeError("the browser has ended")
            message += sign
        found: dict[str, Any] = json.loads(message)
        return found


def _high(fd: int) -> int:
    """Return the same file under a number that the browser's own do not meet."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return moved
