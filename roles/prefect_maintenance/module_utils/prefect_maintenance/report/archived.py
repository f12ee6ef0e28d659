"""What the report says of the archive, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..units import count, size

TITLE = "Archived before it went"


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Say what was written where before it went, and how many old archives are gone.

    Args:
        report: as its JSON stands, perhaps of a version before that key.
    """
    archive = report.get("archive") or {}
    told = []
    if archive.get("rows"):
        files = f"{count(archive['files'])} {'file' if archive['files'] == 1 else 'files'}"
        told += [
            f"{count(archive['rows'])} rows, {size(archive['bytes'])} in {files}, read back and "
            "verified",
            f"in {archive['folder']}",
        ]
    if removed := archive.get("removed"):
        would = "would be removed" if report.get("check_mode") else "removed"
        told.append(f"old archives {would}: {count(removed)}")
    return told


def lines(report: Mapping[str, Any]) -> list[str]:
    """Show the same on a screen, after an empty line."""
    shown = [f"    {sentence}" for sentence in sentences(report)]
    return ["", f"  {TITLE[0].lower()}{TITLE[1:]}:", *shown] if shown else []


def markdown(report: Mapping[str, Any], plain: Callable[[str], str]) -> list[str]:
    """Show the same in an artifact.

    Args:
        report: as its JSON stands.
        plain: keeps a text from being read as Markdown.
    """
    told = [f"- {plain(sentence)}" for sentence in sentences(report)]
    return [f"## {TITLE}", "", *told, ""] if told else []
