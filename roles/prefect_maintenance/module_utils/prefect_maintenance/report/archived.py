"""What the report says of the archive, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..units import count, size


def lines(told: Mapping[str, Any]) -> list[str]:
    """Return where rows were written before they went, and how many old archives are gone."""
    archive = told.get("archive") or {}
    found = []
    if archive.get("rows"):
        found.append(f"  archived: {count(archive['rows'])} rows, {size(archive['bytes'])}, in")
        found.append(f"    {archive['folder']}")
    if removed := archive.get("removed"):
        would = "would be removed" if told["check_mode"] else "removed"
        found.append(f"  old archives {would}: {count(removed)}")
    return ["", *found] if found else []
