"""The work of a step waits for its server, as the request and the limits file say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..database.connection import Database
from ..events import Warned
from ..measure.disk_space import Disks
from ..measure.load_reader import LoadReader
from ..pace.governors import Governor
from ..pace.limits_file import Limits
from ..pace.nice import Nice
from ..pace.pace import Pace
from ..pace.single_writer import LONGEST_BATCH
from ..pace.throttling import Throttling
from ..request.settings import Api, Settings

if TYPE_CHECKING:
    from ..server.latency import Latency


@contextmanager
def throttled(
    database: Database,
    settings: Settings,
    pace: Pace,
    api: Api | None,
    disks: Disks,
    deleted: Mapping[str, int],
) -> Iterator[None]:
    """Let the pace wait for the server until the end of the block; the work may begin in it.

    Args:
        database: an open connection.
        settings: of the request.
        pace: waits.
        api: is looked at as well, where it is known to speak for this database.
        disks: where is looked for what is free.
        deleted: rows that the run has deleted from each table before.

    Raises:
        Stopped: the server had too much to bear before the work began, and for too long.
    """

    def warn(text: str) -> None:
        pace.events(Warned(text))

    limits = Limits(settings.limits.throttle, settings.limits.limits_file, warn)
    governors: list[Governor] = [Nice(limits)]
    reader = LoadReader(database, warn, disks) if database.is_postgresql else None
    if reader:
        latency = _latency(api) if limits().api_latency else None
        if latency and latency.idle is None:
            warn("the Prefect API does not say how quick it is, so the work does not wait for it")
        touched = frozenset(table for table, rows in deleted.items() if rows)
        governors.append(Throttling(limits, reader, latency, touched))
    most = float("inf") if database.is_postgresql else LONGEST_BATCH

    def target() -> float:
        return min(limits().batch_seconds, most)

    before, pace.batches.target = pace.batches.target, target
    try:
        with pace.also(*governors):
            pace.begin()
            if reader and limits().enabled:
                pace.ask("the beginning of the work")
            yield
    finally:
        pace.batches.target = before
        if reader:
            reader.close()


def _latency(api: Api | None) -> Latency | None:
    """Look how long the API takes before the work."""
    if api is None:
        return None
    # What speaks HTTP takes longer to import than some steps do.
    from ..server.latency import Latency

    return Latency(api)
