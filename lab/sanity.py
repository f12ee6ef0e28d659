"""Run `ansible-test sanity` on the role's modules, staged as a collection in a temporary folder.

ansible-test knows collections only. It installs its own pinned requirements below .cache, from
the package index that pip knows; nothing is written to the home of whoever runs it. What it may
not complain about stands in tests/sanity/ignore.txt.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import environments

ROLE = environments.ROOT / "roles" / "prefect_maintenance"
IGNORED = environments.ROOT / "tests" / "sanity" / "ignore.txt"
NAMESPACE, NAME = "local", "prefect_maintenance"
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
        collection = Path(folder) / "ansible_collections" / NAMESPACE / NAME
        stage(collection)
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


def stage(collection: Path) -> None:
    """Lay the role's modules out as a collection, with their imports rewritten accordingly."""
    for there, here in (("plugins/modules", "library"), (UTILS, "module_utils")):
        shutil.copytree(
            ROLE / here, collection / there, ignore=shutil.ignore_patterns("__pycache__")
        )
    inside = rf"ansible_collections.{NAMESPACE}.{NAME}.plugins.module_utils.\1"
    for path in collection.rglob("*.py"):
        text = path.read_text()
        path.write_text(re.sub(r"\bansible\.module_utils\.(prefect_\w+)", inside, text))
    _write(collection / "galaxy.yml", f"namespace: {NAMESPACE}", f"name: {NAME}", "version: 0.1.0",
           "readme: README.md", "authors: [the prefect_maintenance authors]")  # fmt: skip
    _write(collection / "meta" / "runtime.yml", "---", "requires_ansible: '>=2.19.0'")
    core = ".".join(importlib.metadata.version("ansible-core").split(".")[:2])
    _write(collection / "tests" / "sanity" / f"ignore-{core}.txt", *_ignored(collection))


def _ignored(collection: Path) -> list[str]:
    entries = []
    for line in IGNORED.read_text().splitlines():
        pattern, _, rest = line.partition(" ")
        for path in sorted(collection.glob(pattern)) if pattern != "#" else []:
            entries.append(f"{path.relative_to(collection)} {rest}")
    return entries


def _write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def _pip_versions() -> list[str]:
    """Return the versions of pip whose installer ansible-test may look for."""
    package = importlib.util.find_spec("ansible_test")
    if package is None or not package.origin:
        raise RuntimeError("there is no ansible_test beside ansible-core; run: make venv")
    source = Path(package.origin).parent / "_internal" / "python_requirements.py"
    return re.findall(r"pip='([0-9.]+)'", source.read_text())


if __name__ == "__main__":
    sys.exit(main())
