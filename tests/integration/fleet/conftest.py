"""Servers for a fleet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.fleet import Fleet
from lab.postgres import Postgres


@pytest.fixture(scope="module")
def servers(cluster: Postgres, template: str) -> Iterator[Fleet]:
    """Servers that end with the module, none at first."""
    with Fleet(cluster, template) as fleet:
        yield fleet
