"""Proof that an API and a database belong to the same server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from ..database.connection import Database
from ..errors import Mismatch
from .api import PrefectApi

_PROOF = "prefect_maintenance_proof"
_MARK_LIVES = timedelta(hours=1)

_BLOCK_TYPES = "SELECT id FROM block_type"
_MARK_IS_THERE = "SELECT count(*) FROM variable WHERE id = :id"


def prove_same_server(api: PrefectApi, database: Database, *, write: bool) -> None:
    """Make sure that the API speaks for this very database.

    Block types get random ids when a database is made, so two databases never share them,
    except copies of each other. Only a mark left through the API and read in the database
    tells a copy; it is removed at once, and not left in check mode. Each proof has a mark of its
    own. With `write`, the caller holds the lock of the one runner.

    Raises:
        Mismatch: the two belong to different servers.
    """
    differ = Mismatch(
        f"the API at {api.url} and the database {database.url.database!r} belong to different "
        "servers; nothing was deleted; check api_url and db_url"
    )
    shown = {row["id"] for row in api.ask("POST", "/block_types/filter", json={"limit": 200})}
    there = {str(row[0]) for row in database.rows(_BLOCK_TYPES)}
    # A server may be set to register none; then only the mark can tell.
    if not shown <= there or (there and not shown):
        raise differ
    if not write:
        return
    name = f"{_PROOF}_{uuid4().hex}"
    mark = api.ask("POST", "/variables/", json={"name": name, "value": api.url, "tags": []})
    try:
        if not database.scalar(_MARK_IS_THERE, id=mark["id"]):
            raise differ
        _remove_left_marks(api, mark)
    finally:
        api.delete("variables", mark["id"])


def _remove_left_marks(api: PrefectApi, mark: Mapping[str, Any]) -> None:
    """Remove the marks that killed runs left more than an hour before this one."""
    before = datetime.fromisoformat(mark["created"]) - _MARK_LIVES
    asked = {"variables": {"name": {"like_": _PROOF}}, "limit": 200}
    for left in api.ask("POST", "/variables/filter", json=asked):
        ours = re.fullmatch(rf"{_PROOF}(_[0-9a-f]{{32}})?", left["name"])
        if ours and datetime.fromisoformat(left["created"]) < before:
            api.delete("variables", left["id"])
