"""Somebody who walks the README's first journey."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.environments import ROOT
from lab.ssh import SshTarget

BLOCK = re.compile(r"<!-- journey: ([\w-]+) -->\n```bash\n(.*?)```", re.S)
# A line to correct: a name, its value, and a comment that says what it is.
TO_CORRECT = re.compile(r"^([A-Z_]+)=(\S+)( +#.*)$", re.M)


def blocks() -> dict[str, str]:
    """Return the README's blocks by the names that they are marked with."""
    found = BLOCK.findall((ROOT / "README.md").read_text())
    assert len(dict(found)) == len(found), "a name marks two blocks"
    return dict(found)


@dataclass
class Person:
    """Somebody at a terminal in a clone: pastes blocks, corrects lines, types secrets."""

    clone: Path
    home: Path
    target: SshTarget
    types: dict[str, str] = field(default_factory=dict)

    def paste(self, name: str, **corrected: str) -> str:
        """Paste a block with its lines corrected, which works; returns what was shown."""
        code, said = self._pasted(name, corrected)
        assert code == 0, f"{name}:\n{said}"
        return said

    def paste_in_vain(self, name: str) -> str:
        """Paste a block that fails; returns what was shown."""
        code, said = self._pasted(name, {})
        assert code != 0, f"{name}:\n{said}"
        return said

    def _pasted(self, name: str, corrected: Mapping[str, str]) -> tuple[int, str]:
        text = blocks()[name]
        asked = {match[1] for match in TO_CORRECT.finditer(text)}
        assert asked == set(corrected), f"the block {name} has these lines to correct: {asked}"
        text = TO_CORRECT.sub(lambda m: f"{m[1]}={shlex.quote(corrected[m[1]])}{m[3]}", text)
        # What every new terminal needs, as the README says.
        before = "" if name == "prepare" else "".join(
            line + "\n" for line in blocks()["prepare"].splitlines()
            if line.startswith(("source ", "export "))
        )  # fmt: skip
        return self._at_a_terminal(f"set -e\n{before}{text}")

    def type(self, name: str) -> None:
        """Write what the README shows below a block into the editor that the block opens."""
        shown = (ROOT / "README.md").read_text().split(f"<!-- journey: {name} -->")[1]
        lines = shown.split("```yaml\n")[1].split("```")[0].splitlines()
        keys = [line.split(":")[0] for line in lines]
        assert set(keys) <= set(self.types), keys
        (self.home / "typed").write_text("".join(f"{k}: {self.types[k]}\n" for k in keys))
        self.paste(name)

    def _at_a_terminal(self, script: str) -> tuple[int, str]:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=self.clone, env=self._environment(),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        shown = []
        # A terminal whose other end has closed cannot be read any more.
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            shown.append(piece)
        os.close(master)
        return process.wait(), b"".join(shown).decode(errors="replace").replace("\r\n", "\n")

    def _environment(self) -> Mapping[str, str]:
        kept = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "PREFECT_", "VIRTUAL_ENV", "GIT_"))
        }  # fmt: skip
        return {
            **kept,
            **self.target.environment(),
            "HOME": str(self.home),
            "PATH": os.defpath + os.pathsep + "/usr/sbin",
            "EDITOR": f"cp {self.home / 'typed'}",
            "ANSIBLE_NOCOLOR": "1",
        }
