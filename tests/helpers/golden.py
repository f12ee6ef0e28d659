"""Files that pin what people and machines read; `--rewrite-golden` writes them anew."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.environments import ROOT

FOLDER = ROOT / "tests" / "golden"
# The files of the runs on a database: <dialect>/<mode>/<kind>.
DIALECTS = ("postgresql", "sqlite")
MODES = ("check", "real", "failed")
KINDS = ("report.json", "screen.txt", "artifact.md")

# What differs from run to run, or from machine to machine. A key of the JSON report, as a whole:
KEYS = {
    r"started|finished": "<instant>",
    r"(lock_)?seconds": "<seconds>",
    r"\w*bytes\w*|gives_back": "<bytes>",
    r"fingerprint": "<fingerprint>",
    r"lock_ms\w*": "<ms>",
    r"dead_\w+": "<dead>",
    r"bloat_percent": "<percent>",
    r"api_url": "<url>",
    r"version": "<version>",
    r"revision": "<revision>",
}
# A text, wherever it stands. What is aligned to the right stays so.
TEXTS = {
    # Shown only where it is a millisecond or more; pinned where it is always the same.
    r"; locked for [\d,]+ ms": "",
    r"\d+(\.\d+)? ([KMG]i?B|Bytes?)\b": "<size>",
    r"[\d,]+(\.\d+)? s\b": "<seconds>",
    r"[\d,]+ ms\b": "<ms>",
    r"http://127\.0\.0\.1:\d+/api": "<url>",
    r"(?<=Prefect )\d+\.\d+\.\d+\b": "<version>",
    r"(?<=PostgreSQL )\d+(\.\d+)+": "<version>",
    r"(?<=SQLite )\d+(\.\d+)+": "<version>",
    # In the tables, after a size: the share that is bloat, in a narrow column, and dead rows.
    r"(?<=<size>) {3,5}\d{1,3}(?= {2})": "<%>",
    r"(?<=<size>) {2,}[\d,]+(?= {2}|$)": "<dead>",
    r"\d+(?= % of it\b)": "<percent>",
    # The picture of the artifact draws the sizes; it is pinned where they are always the same.
    r"data:image/svg\+xml;base64,[\w+/=]+": "<chart>",
}


def masked(text: str) -> str:
    """Put placeholders in a text for what differs from run to run."""
    for pattern, placeholder in TEXTS.items():
        text = re.sub(rf"(?: {{2,}})?(?:{pattern})", partial(_put, placeholder), text, flags=re.M)
    return text


def _put(placeholder: str, found: re.Match[str]) -> str:
    in_column = found[0].startswith("  ")
    return placeholder.rjust(len(found[0])) if in_column else placeholder


def masked_json(value: Any, key: str = "") -> Any:
    """Put placeholders in data for what differs from run to run; what was not found stays null."""
    if isinstance(value, dict):
        return {name: masked_json(one, name) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked_json(one, key) for one in value]
    for pattern, placeholder in KEYS.items():
        if value is not None and re.fullmatch(pattern, key):
            return placeholder
    return masked(value) if isinstance(value, str) else value


def as_text(report: Any) -> str:
    """Write data down as its file has it."""
    return json.dumps(masked_json(report), indent=2) + "\n"


@dataclass(frozen=True)
class Golden:
    """Compares texts with the files, or writes these anew."""

    rewrite: bool
    folder: Path = FOLDER

    def check(self, name: str, text: str) -> None:
        """Fail with the difference between a text and the file of that name."""
        path = self.folder / name
        if self.rewrite:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        pinned = path.read_text() if path.exists() else ""
        difference = difflib.unified_diff(
            pinned.splitlines(), text.splitlines(), f"tests/golden/{name}", "now", lineterm=""
        )
        if pinned != text:
            pytest.fail("\n".join([*difference, "", HINT]), pytrace=False)


HINT = "Look at each line; where it is meant so, run the test again with --rewrite-golden."
