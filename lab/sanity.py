"""Run `ansible-test sanity` on the collection, staged in a temporary folder.

ansible-test knows collections only. It installs its own pinned requirements below .cache, from
the package index that pip knows; nothing is written to the home of whoever runs it. What it may
not complain about stands in tests/sanity/ignore.txt.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from . import dist, environments

IGNORED = environments.ROOT / "tests" / "sanity" / "ignore.txt"
UTILS = "plugins/module_utils"
RUNS = (
    # Ruff and mypy do what pylint would, in the project's own style.
    ("--skip-test", "pylint", "--skip-test", "import"),
    # Without the engine, which runs in an environment of its own: there its libraries are.
    ("--test", "import", "plugins/modules/", f"{UTILS}/prefect_maintenance_door.py"),
)
# ansible-test fetches pip's installer from the network, although Python brings one.
_INSTALLER = "import ensurepip\nensurepip.bootstrap()\n"


def main() -> int:
    """Return 1 when ansible-test found a fault."""
    home = environments.CACHE / "sanity"
    installers = home / ".ansible" / "test" / "cache"
    installers.mkdir(parents=True, exist_ok=True)
    for version in _pip_versions():
        (installers / f"get_pip_{version.replace('.', '_')}.py").write_text(_INSTALLER)
    with tempfile.TemporaryDirectory(prefix="prefect-maintenance-sanity-") as folder:
        collection = Path(folder, "ansible_collections", *dist.COLLECTION.split("."))
        dist.stage(collection)
        core = ".".join(importlib.metadata.version("ansible-core").split(".")[:2])
        ignored = collection / "tests" / "sanity" / f"ignore-{core}.txt"
        ignored.parent.mkdir(parents=True)
        ignored.write_text("".join(f"{line}\n" for line in _ignored(collection)))
        codes = [
            subprocess.run(
                [Path(sys.executable).parent / "ansible-test", "sanity", "--color", "no",
                 "--local", "--python", f"{sys.version_info.major}.{sys.version_info.minor}", *run],
                cwd=collection,
                env={**os.environ, "HOME": str(home), "ANSIBLE_CONFIG": os.devnull},
            ).returncode
            for run in RUNS
        ]  # fmt: skip
    return int(any(codes))


def _ignored(collection: Path) -> list[str]:
    entries = []
    for line in IGNORED.read_text().splitlines():
        pattern, _, rest = line.partition(" ")
        for path in sorted(collection.glob(pattern)) if pattern != "#" else []:
            entries.append(f"{path.relative_to(collection)} {rest}")
    return entries


def _pip_versions() -> list[str]:
    """Return the versions of pip whose installer ansible-test may look for."""
    package = importlib.util.find_spec("ansible_test")
    if package is None or not package.origin:
        raise RuntimeError("there is no ansible_test beside ansible-core; run: make venv")
    source = Path(package.origin).parent / "_internal" / "python_requirements.py"
    return re.findall(r"pip='([0-9.]+)'", source.read_text())


if __name__ == "__main__":
    sys.exit(main())
