"""Paces for tests: somebody looks at the progress, and governors of one's own are asked."""

from __future__ import annotations

from collections.abc import Callable

from prefect_maintenance.events import COUNTED, MEASURED, Event, Events, Progress
from prefect_maintenance.pace.governors import Governor
from prefect_maintenance.pace.pace import Pace


def paced(show: Callable[[Progress], object] | None = None, *governors: Governor) -> Pace:
    """Return a pace that shows how its work goes on to a function and asks these governors.

    What is counted or measured before the work is not shown: nobody is to act before the plan.
    """

    def listen(event: Event) -> None:
        if show and isinstance(event, Progress) and event.unit not in (COUNTED, MEASURED):
            show(event)

    return Pace(Events(listen), governors)
