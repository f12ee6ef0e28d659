"""Make the environment of the tool, once, however many runs want it at a time.

Reads a JSON object from its standard input: `home`, `python` that makes it, the `requirements`,
their `checksum`, and further arguments for pip. Prints whether anything was made.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path


def make(home: Path, python: str, requirements: str, checksum: str, pip: list[str]) -> bool:
    """Make the environment unless it is there; whoever comes meanwhile waits and finds it."""
    if not home.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o755)
    # Nothing is left behind by a lock on the folder itself.
    held = os.open(home, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    note, wanted = home / "venv" / "requirements.sha256", home / "requirements.txt"
    if note.is_file() and note.read_text() == checksum:
        return False
    _run([python, "-m", "venv", "--clear", str(home / "venv")])
    wanted.write_text(requirements)
    wanted.chmod(0o644)
    _run([str(home / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input",
          "--disable-pip-version-check", "--requirement", str(wanted), *pip])  # fmt: skip
    note.write_text(checksum)
    note.chmod(0o644)
    return True


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr + done.stdout).strip() or f"it ended with {done.returncode}"
        sys.exit(f"{' '.join(command[1:3])}: {said}")


def main() -> None:
    """Do what the standard input asks for."""
    asked = json.load(sys.stdin)
    home = Path(asked.pop("home"))
    print(json.dumps({"changed": make(home, **asked)}))


if __name__ == "__main__":
    main()
