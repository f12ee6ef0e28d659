"""How long the Prefect API takes to answer a request that reads from its database."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..request.settings import Api

# Whoever is let in nowhere else may ask whether the server can reach its database.
_PATH = "/ready"
# Seconds between two requests, and for which one is waited for: longer is this long at least.
_EVERY, _MOST = 1.0, 5.0
# Of so many requests, before the work and then always, the middle counts: one alone says little.
_ASKED = 3


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for an answer: what lets us in is for this server alone."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


@dataclass
class Latency:
    """Asks the API now and then how it is.

    Attributes:
        idle: seconds that it took before the work; None where it did not answer.
        clock: seconds that only go on.
    """

    api: Api
    clock: Callable[[], float] = time.monotonic
    idle: float | None = None
    _latest: deque[float] = field(default_factory=lambda: deque(maxlen=_ASKED))
    _next: float = 0.0

    def __post_init__(self) -> None:
        request = urllib.request.Request(f"{self.api.url.rstrip('/')}{_PATH}")
        for name, value in (self.api.headers or {}).items():
            request.add_header(name, value)
        if self.api.auth_string:
            secret = base64.b64encode(self.api.auth_string.encode()).decode()
            request.add_header("Authorization", f"Basic {secret}")
        elif self.api.key:
            request.add_header("Authorization", f"Bearer {self.api.key}")
        self._request = request
        self._opener = urllib.request.build_opener(*self._handlers())
        taken: list[float] = []
        while len(taken) < _ASKED and (one := self._ask()) is not None:
            taken.append(one)
        self.idle = _middle(taken) if taken else None
        self._next = self.clock() + _EVERY

    def __call__(self) -> float | None:
        """Return the seconds that it takes now; None where it does not answer."""
        if self.idle is None:
            return None
        if self.clock() >= self._next:
            taken = self._ask()
            self._next = self.clock() + _EVERY
            if taken is not None:
                self._latest.append(taken)
        return _middle(self._latest) if len(self._latest) == _ASKED else None

    def _handlers(self) -> Iterator[urllib.request.BaseHandler]:
        yield _NoRedirect()
        if self.api.url.startswith("https:"):
            context = ssl.create_default_context(cafile=self.api.ca_cert)
            if not self.api.validate_certs:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            yield urllib.request.HTTPSHandler(context=context)

    def _ask(self) -> float | None:
        """Return the seconds of one request; None where there is no server."""
        began = self.clock()
        try:
            with self._opener.open(self._request, timeout=_MOST) as answer:
                answer.read()
        except urllib.error.HTTPError as refused:
            refused.close()
        except (OSError, http.client.HTTPException) as error:
            late = isinstance(getattr(error, "reason", error), TimeoutError)
            return _MOST if late else None
        return self.clock() - began


def _middle(taken: Collection[float]) -> float:
    return sorted(taken)[len(taken) // 2]
