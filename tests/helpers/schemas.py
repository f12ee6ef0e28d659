"""Whether a report is what its published schema says."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from lab.docs import REPORT_SCHEMA


@cache
def _validator(*, closed: bool = False) -> Draft202012Validator:
    published = json.loads(REPORT_SCHEMA.read_text())
    return Draft202012Validator(_closed(published) if closed else published)


def _closed(published: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without the leave for keys that it does not know."""
    parts = {name: _closed(part) for name, part in published.get("$defs", {}).items()}
    return {**published, "$defs": parts, "additionalProperties": False}


def faults(report: Any) -> list[str]:
    """Return what a report has against the schema."""
    found = _validator().iter_errors(json.loads(json.dumps(report)))
    return [f"{fault.json_path}: {fault.message[:200]}" for fault in found]


def unknown_keys(report: Any) -> list[str]:
    """Return where a report has keys that are not in the schema."""
    found = _validator(closed=True).iter_errors(report)
    unknown = [fault for fault in found if fault.validator == "additionalProperties"]
    return [f"{fault.json_path}: {fault.message[:200]}" for fault in unknown]


def report_at(path: Path) -> dict[str, Any]:
    """Read the report of a run, which is what the schema says."""
    found: dict[str, Any] = json.loads(path.read_text())
    wrong = faults(found)
    assert not wrong, "\n".join((str(path), *wrong))
    return found
