"""Who waits when a server asks to be called later: Prefect's client, or whoever calls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from prefect import settings as prefect_settings

from ..errors import ApiBusy

_RETRIES = prefect_settings.PREFECT_CLIENT_MAX_RETRIES
# Answers of a server, or of a proxy before it, after which Prefect's client tries again.
_LATER = frozenset({408, 429, 502, 503})


@dataclass
class Patience:
    """Sees to it that a request is sent once, where its caller can wait better than the client.

    Prefect's client sleeps until a server is back, under maintenance for as long as that takes,
    and heeds no stop meanwhile.
    """

    lost: bool = False

    @contextmanager
    def none(self) -> Iterator[None]:
        """Send each request once until the end of the block."""
        self.lost = True
        try:
            with prefect_settings.temporary_settings({_RETRIES: 0}):
                yield
        finally:
            self.lost = False

    def heed(self, answer: httpx.Response) -> None:
        """Take an answer before the client does.

        Raises:
            ApiBusy: it asks to be called later.
        """
        if not self.lost or answer.status_code not in _LATER:
            return
        raise ApiBusy(
            f"the Prefect API answered {answer.status_code} to {answer.request.method} "
            f"{answer.request.url.raw_path.decode()}; run again when it is less busy",
            answer.status_code,
            seconds_until(answer.headers.get("Retry-After", "")),
            maintained=answer.headers.get("Prefect-Maintenance") == "true",
        )


def seconds_until(told: str) -> float | None:
    """Return what a Retry-After header says in seconds, or None where it says nothing."""
    try:
        seconds = float(told)
    except ValueError:
        try:
            at = parsedate_to_datetime(told)
        except ValueError:
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
