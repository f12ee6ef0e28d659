"""A site for the playbooks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from maintenance import fill
from sites import Site
from world import SAME, Policy

from lab.server import PrefectServer


@pytest.fixture
def site(shared_server: PrefectServer, tmp_path: Path) -> Site:
    """A site with a backlog, of which a part goes when all is kept for as long as in SAME."""
    # Its logs are about an hour old, where orphans begin to go. Seen from half an hour ahead,
    # minutes between two runs of a play do not change what goes.
    now = datetime.now(UTC) + timedelta(minutes=30)
    fill(shared_server.db_url, Policy(now, SAME), seed=5)
    return Site(shared_server, tmp_path)
