"""Where SQLite lays its temporary files."""

from __future__ import annotations

import os
from pathlib import Path

# In this order (SQLite manual, Temporary Files Used By SQLite).
_VARIABLES = ("SQLITE_TMPDIR", "TMPDIR")
_FOLDERS = ("/var/tmp", "/usr/tmp", "/tmp", ".")


def temporary() -> Path:
    """Return the folder that SQLite takes for temporary files in this process."""
    named = [os.environ[name] for name in _VARIABLES if os.environ.get(name)]
    folders = [Path(name) for name in (*named, *_FOLDERS)]
    may = (folder for folder in folders if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK))
    return next(may, Path.cwd())
