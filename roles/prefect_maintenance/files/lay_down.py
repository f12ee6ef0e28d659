"""Make a folder hold exactly the files that it is given, all of them at one instant.

Reads a JSON object from its standard input: `folder`, `files` (texts by their paths in it), and
`check`, which changes nothing. Prints as JSON a line for each path that differed, `before` and
`after`. What Python itself leaves in a folder does not count.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o644, 0o755
_COMPILED = "__pycache__"

Listing = dict[str, str]


def lay_down(folder: Path, files: dict[str, str], *, check: bool) -> tuple[Listing, Listing]:
    """Make the folder hold these files and nothing else; returns what differed, before and after.

    The folder is a link to a version beside it. Whoever has followed the link goes on with the
    version of then, which stays until the next but one comes.
    """
    before, after = _found(folder), _wanted(files)
    if before != after and not check:
        _replace(folder, files)
    same = before.items() & after.items()
    return dict(before.items() - same), dict(after.items() - same)


def _wanted(files: dict[str, str]) -> Listing:
    folders = {f"{parent}/": _label(FOLDER_MODE) for path in files for parent in Path(path).parents}
    return folders | {path: _label(FILE_MODE, text.encode()) for path, text in files.items()}


def _found(folder: Path) -> Listing:
    """Return what lies there; it may be anything, and only plain files and folders are read."""
    found: Listing = {}
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != _COMPILED]
        here = Path(at)
        found[f"{here.relative_to(folder)}/"] = _label(stat.S_IMODE(here.stat().st_mode))
        for path in (here / name for name in (*files, *folders)):
            mode, name = path.lstat().st_mode, str(path.relative_to(folder))
            if stat.S_ISREG(mode):
                found[name] = _label(stat.S_IMODE(mode), path.read_bytes())
            elif not stat.S_ISDIR(mode):
                found[name] = "neither a file nor a folder"
    return found


def _label(mode: int, content: bytes | None = None) -> str:
    return f"{mode:04o}" if content is None else f"{mode:04o} {sha256(content).hexdigest()}"


def _replace(folder: Path, files: dict[str, str]) -> None:
    beside = f".{folder.name}-"
    new = Path(tempfile.mkdtemp(prefix=beside, dir=folder.parent))
    _fill(new, files)
    link = folder.with_name(f".{folder.name}.link")
    link.unlink(missing_ok=True)
    link.symlink_to(new.name)
    former = folder.resolve()
    if folder.exists() and not folder.is_symlink():
        # Earlier versions of this tool lay in the folder itself.
        former = folder.rename(new.with_suffix(".former"))
    link.replace(folder)
    for other in folder.parent.glob(f"{beside}*"):
        if other not in (new, former):
            shutil.rmtree(other)


def _fill(new: Path, files: dict[str, str]) -> None:
    new.chmod(FOLDER_MODE)
    for path, text in files.items():
        for parent in reversed(Path(path).parents[:-1]):
            (new / parent).mkdir(exist_ok=True)
            (new / parent).chmod(FOLDER_MODE)
        (new / path).write_bytes(text.encode())
        (new / path).chmod(FILE_MODE)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    told = lay_down(Path(asked["folder"]), asked["files"], check=asked["check"])
    before, after = ([f"{path} {found[path]}" for path in sorted(found)] for found in told)
    print(json.dumps({"before": before, "after": after}))
