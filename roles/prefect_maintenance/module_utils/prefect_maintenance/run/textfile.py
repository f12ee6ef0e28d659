"""The file that node_exporter's textfile collector reads, kept true after each step."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..report.prometheus import Stands, exposition

NAME = "prefect_maintenance.prom"
# Another host's run on the same target writes for milliseconds; where a thousand hosts share one
# target, for half a second.
_PATIENT = 30.0


def write(folder: Path, report: Mapping[str, Any], stands: Stands) -> str | None:
    """Write what a report tells into the folder's file, beside what it tells of other hosts.

    A reader finds the file of before or the new one, never a part.

    Args:
        folder: of the textfile collector.
        report: as its JSON stands.
        stands: what it tells of.

    Returns:
        A warning where it could not be written.
    """
    try:
        with _held(folder):
            file = folder / NAME
            so_far = file.read_text("utf-8", "replace") if file.exists() else ""
            _replace(file, exposition(report, stands, so_far=so_far, now=time.time()))
    except OSError as error:
        return (
            f"no metrics were written to {folder}: {error.strerror or error}; make the folder and "
            "let the user of the maintenance write to it, or leave textfile_dir unset"
        )
    return None


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Be the only one who reads and writes the folder's file; needs no file of its own.

    Raises:
        OSError: the folder is not there, or somebody holds it for seconds.
    """
    until = time.monotonic() + _PATIENT
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
        yield
    finally:
        os.close(opened)


def _replace(file: Path, text: str) -> None:
    # The collector reads whatever ends in .prom.
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", errors="replace", dir=file.parent, prefix=f".{file.name}.",
        delete=False,
    ) as beside:  # fmt: skip
        try:
            os.fchmod(beside.fileno(), 0o644)
            beside.write(text)
            beside.close()
            Path(beside.name).replace(file)
        except BaseException:
            Path(beside.name).unlink()
            raise
