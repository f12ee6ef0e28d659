"""Build what is handed out, into dist/: the role as an archive, and the same as a collection.

The role's folder is the source of both. A collection has other folders, and a name in it carries
its namespace: `stage` moves the files and qualifies the names.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from . import environments

ROOT = environments.ROOT
ROLE = ROOT / "roles" / "prefect_maintenance"
_GALAXY: dict[str, Any] = yaml.safe_load((ROOT / "collection" / "galaxy.yml").read_text())
VERSION = str(_GALAXY["version"])
COLLECTION = f"{_GALAXY['namespace']}.{_GALAXY['name']}"
# Where a collection has what a role has in folders of its own.
PLUGINS = {
    "library": "modules",
    "module_utils": "module_utils",
    "filter_plugins": "filter",
    "callback_plugins": "callback",
    "action_plugins": "action",
}
_ROLE = f"{COLLECTION}.{ROLE.name}"
_PLUGIN = {
    "version_added": "0.1.0",
    "author": ["The prefect_maintenance authors (@prefect-maintenance)"],
}
_INTERNAL = "The role of this collection uses it, and it changes with the role."
_MADE_BY_TOOLS = shutil.ignore_patterns("__pycache__", ".*")


def main() -> int:
    """Build both into dist/, and say where they are."""
    folder = ROOT / "dist"
    folder.mkdir(exist_ok=True)
    for built in (build_role(folder), build_collection(folder)):
        print(built.relative_to(ROOT))
    return 0


def build_role(folder: Path) -> Path:
    """Return an archive whose root is the role, written into the folder."""
    archive = folder / f"{ROLE.name}-{VERSION}.tar.gz"
    with tempfile.TemporaryDirectory(prefix="prefect-maintenance-dist-") as temporary:
        role = Path(temporary) / ROLE.name
        shutil.copytree(ROLE, role, ignore=_MADE_BY_TOOLS)
        shutil.copy2(ROOT / "LICENSE", role)
        with tarfile.open(archive, "w:gz") as packed:
            for path in sorted(role.rglob("*")):
                name = str(path.relative_to(role))
                packed.add(path, name, recursive=False, filter=_of_nobody)
    return archive


def build_collection(folder: Path) -> Path:
    """Return the collection's archive as ansible-galaxy builds it, written into the folder."""
    galaxy = Path(sys.executable).parent / "ansible-galaxy"
    with tempfile.TemporaryDirectory(prefix="prefect-maintenance-dist-") as temporary:
        collection = Path(temporary) / "collection"
        stage(collection)
        built = subprocess.run(
            [galaxy, "collection", "build", "--force", "--output-path", folder, str(collection)],
            capture_output=True,
            text=True,
        )
    if built.returncode:
        raise RuntimeError(f"ansible-galaxy built no collection:\n{built.stderr}")
    return folder / f"{COLLECTION.replace('.', '-')}-{VERSION}.tar.gz"


def stage(collection: Path) -> None:
    """Lay role, playbooks and plugins out as a collection, in a folder that is not there yet."""
    shutil.copytree(ROOT / "collection", collection, ignore=_MADE_BY_TOOLS)
    for name in ("LICENSE", "CHANGELOG.rst"):
        shutil.copy2(ROOT / name, collection)
    shutil.copytree(ROOT / "monitoring", collection / "monitoring")
    role = collection / "roles" / ROLE.name
    shutil.copytree(ROLE, role, ignore=_MADE_BY_TOOLS)
    (collection / "plugins").mkdir()
    for here, there in PLUGINS.items():
        (role / here).rename(collection / "plugins" / there)
    (collection / "playbooks").mkdir()
    for playbook in (ROOT / "playbooks").glob("*.yml"):
        shutil.copy2(playbook, collection / "playbooks")
    # Galaxy wants the documentation of each; in a role these have no place for it.
    documents = {f"filter/{name}": _of_filter(name, one) for name, one in filters().items()}
    documents |= {f"modules/{name}": _of_action(name) for name in actions()}
    for name, document in documents.items():
        text = yaml.safe_dump(document, sort_keys=False)
        (collection / "plugins" / f"{name}.yml").write_text(f"---\n{text}")
    qualifications = list(_qualifications())
    for path in collection.rglob("*"):
        if path.suffix in (".py", ".yml", ".md"):
            text = path.read_text()
            for pattern, replacement in qualifications:
                text = pattern.sub(replacement, text)
            path.write_text(text)


def filters() -> dict[str, Callable[..., Any]]:
    """Return the filters that the role brings, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for path in sorted((ROLE / "filter_plugins").glob("*.py")):
        found |= _loaded(path).FilterModule().filters()
    return found


def modules() -> list[str]:
    """Return the names of the modules that the role brings."""
    return sorted(path.stem for path in (ROLE / "library").glob("*.py"))


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} cannot be loaded")
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    return plugin


def actions() -> list[str]:
    """Return the names of what the role does on the controller alone.

    The action of a module is documented with the module.
    """
    found = {path.stem for path in (ROLE / "action_plugins").glob("*.py")}
    return sorted(found - set(modules()))


def _qualifications() -> Iterator[tuple[re.Pattern[str], str]]:
    """Yield what stands for a name in a role, and what stands for it in the collection."""
    inside = f"ansible_collections.{COLLECTION}.plugins.module_utils"
    yield re.compile(r"\bansible\.module_utils\.(?=prefect_)"), f"{inside}."
    tasks = "|".join((*modules(), *actions()))
    yield re.compile(rf"^(\s*(?:- )?)(?=({tasks}):\s)", re.M), rf"\1{COLLECTION}."
    yield re.compile(rf"(\|\s*)(?=({'|'.join(filters())})\b)"), rf"\1{COLLECTION}."
    plays = re.compile(rf"(_role:\n\s+name: |- role: )(?={ROLE.name}$)", re.M)
    yield plays, rf"\1{COLLECTION}."


def _of_filter(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Return what ansible-doc shows of a filter, as its function says it."""
    first, *others = inspect.signature(function).parameters.values()
    said = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    documentation = {
        "name": name,
        "short_description": said.rstrip("."),
        **_PLUGIN,
        "description": [said, _INTERNAL],
        "positional": ", ".join(argument.name for argument in others),
        "options": {
            option: {
                "description": f"The argument C({argument.name}) of the filter.",
                "type": "raw",
                "required": argument.default is argument.empty,
            }
            for option, argument in [("_input", first), *((other.name, other) for other in others)]
        },
    }
    returned = {"description": "What the description says.", "type": "raw"}
    return {"DOCUMENTATION": documentation, "RETURN": {"_value": returned}}


def _of_action(name: str) -> dict[str, Any]:
    """Return what ansible-doc shows of an action that has no module, as its file says it."""
    plugin = _loaded(ROLE / "action_plugins" / f"{name}.py")
    said = (plugin.__doc__ or "").partition("\n")[0]
    documentation = {
        "module": name,
        "short_description": said.rstrip("."),
        **_PLUGIN,
        "description": [said, _INTERNAL],
        "options": {
            option: {"description": f"The argument C({option}) of the action.", "type": "raw"}
            for option in sorted(plugin.ActionModule._VALID_ARGS)
        },
    }
    task = {"name": "Leave it to the role", "ansible.builtin.include_role": {"name": _ROLE}}
    return {"DOCUMENTATION": documentation, "EXAMPLES": yaml.safe_dump([task]), "RETURN": {}}


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    sys.exit(main())
