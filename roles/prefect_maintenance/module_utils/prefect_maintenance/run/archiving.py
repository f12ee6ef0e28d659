"""The archive of a step: what it is given to know, and what the report says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..database.connection import Database
from ..execute import archive_folders
from ..execute.archive import Archive
from ..execute.archive_manifest import Manifest
from ..measure.examine import Server
from ..measure.room import Room
from ..plan.plan import Plan
from ..plan.rules import Rules
from ..plan.went_by import went_by
from ..report.report import Report
from ..request.instants import iso, now
from ..request.settings import Settings

# What of the steps deletes rows.
_DELETING = ("purge", "delete")


def archive_for(
    step: str, settings: Settings, database: Database, server: Server, report: Report
) -> Archive | None:
    """Return the archive of a step; None where none is asked for, or it deletes nothing."""
    if settings.archive is None or step not in _DELETING:
        return None
    policy = settings.policy
    # As the manifest has them once it was read.
    rules = {
        kind: json.loads(json.dumps([asdict(rule) for rule in getattr(policy, kind)]))
        for kind in ("rules", "event_rules", "log_rules")
        if getattr(policy, kind)
    }
    name = str(database.url.database)
    manifest = Manifest(
        host=report.host,
        database=name,
        dialect=server.dialect,
        server=server.version,
        revision=str(server.revision),
        run=report.started,
        made=iso(now()),
        cutoffs=report.cutoffs,
        policy=dict(report.policy),
        rules={**rules, "hold_tags": list(policy.hold_tags)},
    )
    home = home_of(settings.archive.folder, report.host or Path(name).stem)
    return Archive(home, manifest, partial(went_by, step, settings.cutoffs))


def home_of(folder: Path, name: str) -> Path:
    """Return the folder of the archives of one host, or of one database without a host."""
    return folder / (re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "_")


def require(
    archive: Archive, database: Database, rules: Rules, plan: Plan, room: Room | None
) -> None:
    """Make sure that what a plan deletes can be archived, and tell the archive why it goes.

    Raises:
        ArchiveFailed: the folder is not there or cannot be written to, or it does not fit.
    """
    folder = archive.home.parent
    archive_folders.require_writable(folder)
    archive_folders.require_room(database, folder, plan.rows, room, plan.estimate.wal_bytes)
    archive.explain(plan.reasons, rules)


def ended(
    archive: Archive, settings: Settings, report: Report, rows: Mapping[str, int], *, failed: bool
) -> tuple[Report, int]:
    """Close the archive of a step and remove old ones, or say in a check which would go.

    Args:
        archive: of the step.
        settings: of the step.
        report: of the run so far.
        rows: that left each table in this step.
        failed: whether the step has failed; nothing is removed then.

    Returns:
        The report with it, and the number of old archives that went.

    Raises:
        ArchiveFailed: it could not be closed.
    """
    archive.close(rows, iso(now()))
    asked, reference, check = settings.archive, settings.cutoffs.reference, settings.check
    before, gone = int(report.archive.get("removed", 0)), 0
    if asked is not None and not failed and not report.errors:
        gone, left = archive_folders.removed(archive.home, asked.days, reference, check=check)
        report = report.with_warnings(left)
    # A check leaves them where they are, so the next step finds the same ones.
    gone = max(0, gone - before) if check else gone
    return replace(report, archive=_told(archive, report.archive, before + gone)), gone


def _told(archive: Archive, before: Mapping[str, Any], removed: int) -> dict[str, Any]:
    found = dict(before)
    if archive.folder is not None:
        manifest = archive.manifest
        found = {
            "folder": str(archive.folder),
            "rows": manifest.rows,
            "bytes": manifest.bytes,
            "files": len(manifest.files),
        }
    elif removed and not found:
        found = {"folder": "", "rows": 0, "bytes": 0, "files": 0}
    return {**found, "removed": removed} if found else {}
