"""The role that a test lets the engine make, and that maintains with what it was given."""

from __future__ import annotations

from typing import Any

from maintenance import name_of

from lab.postgres import Postgres

SECRET = "s3cret@maid"
MAID = {"role": "maid", "password": SECRET}


def as_maid(cluster: Postgres, owners: str) -> dict[str, Any]:
    """Make a request to the engine as the role, for the database of an owner's URL."""
    return {"db_url": cluster.url(name_of(owners), "maid", SECRET)}
