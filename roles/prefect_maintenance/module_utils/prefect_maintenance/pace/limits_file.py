"""Thresholds may be changed while the work goes on, by a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingsError
from ..request.throttle import Throttle, parse_throttle

# Seconds between two looks at the file, and bytes that it may have.
_EVERY = 1.0
_MOST = 64 * 2**10


@dataclass
class Limits:
    """The thresholds as they are now: those of the request, or of the file while there is one.

    Attributes:
        asked: what the request says.
        path: of the file, a JSON object with the same keys.
        tell: takes a warning for a content that cannot be; the thresholds stay as they were.
        clock: seconds that only go on.
    """

    asked: Throttle
    path: Path | None
    tell: Callable[[str], object]
    clock: Callable[[], float] = time.monotonic
    _now: Throttle | None = None
    _changed: tuple[int, int, int] | None = None
    _next: float = -float("inf")

    def __call__(self) -> Throttle:
        """Return the thresholds, after a look at the file where the last is a second old."""
        if self.path is not None and self.clock() >= self._next:
            self._next = self.clock() + _EVERY
            self._look(self.path)
        return self._now or self.asked

    def _look(self, path: Path) -> None:
        try:
            now = path.stat()
            changed = (now.st_ino, now.st_size, now.st_mtime_ns)
        except FileNotFoundError:
            self._now = self._changed = None
            return
        except OSError:
            changed = (0, 0, 0)  # To read it fails likewise, and says why.
        if changed == self._changed:
            return
        self._changed = changed
        try:
            self._now = parse_throttle(_content(path), self.asked, str(path))
        except SettingsError as error:
            self.tell(f"{error}; the limits stay as they were")


def _content(path: Path) -> object:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise SettingsError(f"{path} has more than {_MOST} bytes; correct it")
        return json.loads(text)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}; chmod it") from None
    except ValueError:
        raise SettingsError(f"{path} is not JSON; correct it") from None
