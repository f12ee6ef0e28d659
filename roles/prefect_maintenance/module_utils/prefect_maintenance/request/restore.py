"""What is to be restored, and from which archives."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from .instants import parse_instant
from .values import short


@dataclass(frozen=True)
class RestoreRequest:
    """What is to be restored: one flow run, what a rule let go, what is dated in a range, or all.

    Attributes:
        archive: a folder with a manifest, or one that has such folders below it.
        flow_run: its id; None is not one alone.
        rule: name of a rule, whose rows are wanted and what belongs to its runs.
        begin: what is dated then or later; None is from the beginning.
        until: what is dated before; None is to the end.
    """

    archive: Path
    flow_run: str | None = None
    rule: str | None = None
    begin: datetime | None = None
    until: datetime | None = None

    @property
    def dated(self) -> bool:
        """Whether the date of a row decides."""
        return self.begin is not None or self.until is not None


def parse_restore(request: Mapping[str, Any]) -> RestoreRequest | None:
    """Check what is to be restored; None where no archive is named.

    Raises:
        SettingsError: an id or an instant is none, or both are given.
    """
    if not request.get("archive"):
        return None
    wanted = RestoreRequest(
        archive=Path(request["archive"]),
        flow_run=_run(request),
        rule=request.get("rule") or None,
        begin=_at(request, "begin"),
        until=_at(request, "until"),
    )
    if sum(map(bool, (wanted.flow_run, wanted.rule, wanted.dated))) > 1:
        raise SettingsError(
            "flow_run is one run, rule is all that a rule let go, begin and until are all in a "
            "time: give one"
        )
    if wanted.begin and wanted.until and wanted.begin >= wanted.until:
        raise SettingsError("begin must be before until")
    return wanted


def _run(request: Mapping[str, Any]) -> str | None:
    told = request.get("flow_run")
    if not told:
        return None
    try:
        return str(uuid.UUID(str(told)))
    except ValueError:
        raise SettingsError(f"flow_run must be the id of a run, not {short(told)}") from None


def _at(request: Mapping[str, Any], name: str) -> datetime | None:
    told = request.get(name)
    if not told:
        return None
    try:
        return parse_instant(str(told))
    except SettingsError:
        such = "an ISO 8601 time, e.g. 2026-11-01T00:00:00Z"
        raise SettingsError(f"{name} must be {such}, not {short(told)}") from None
