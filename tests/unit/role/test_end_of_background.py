"""The end of a module in the background: its result is given on, whoever removes its folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import prefect_maintenance_background as background

# The other process removes the folder first, at the instant at which this one begins to.
RACED = """
import os, shutil, sys
from pathlib import Path
import prefect_maintenance_background as background

remove = shutil.rmtree

def raced(folder, *more, **named):
    remove(folder)
    remove(folder, *more, **named)

shutil.rmtree = raced
reader, writer = os.pipe()
os.close(writer)
background._give_on(Path(sys.argv[1]), reader, 0)
"""


def test_a_result_is_given_on_although_its_folder_is_removed_at_that_very_instant(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "step"
    folder.mkdir()
    for name, text in (
        (background.RESULT, '{"changed": true}'),
        (background.ERRORS, "a warning"),
        (background.ENDED, "3"),
    ):
        (folder / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", RACED, folder],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(background.__file__).parent)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, '{"changed": true}', "a warning")
    assert not folder.exists()
