# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
"""Keep on the controller what a run leaves there: its report, pages and history, job totals.

A copy to localhost would start two modules for each file.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

FILE_MODE, FOLDER_MODE = 0o644, 0o755
# A plan tells of flows and tags, and whoever could change it would decide what goes.
PLAN_MODE, PLANS_MODE = 0o600, 0o700
# The variable by which the next job of a workflow is given plans, by host.
_HANDED_ON = "prefect_maintenance_plan_in"
HISTORY, LOOK = "history", "-report"
# Runs of each server that the page of a fleet shows.
_SHOWN = 10
# The role, or the plugins of a collection, which has its roles beside them.
_HOME = Path(__file__).resolve().parents[1]
_ENGINE = _HOME / "module_utils" / "prefect_maintenance"
_TEMPLATES = next(
    path
    for role in (_HOME, _HOME.parent / "roles" / "prefect_maintenance")
    if (path := role / "templates" / "page").is_dir()
)
# Another name than on a target, or in the filters: each loads what it needs of the engine.
_PACKAGE = "prefect_maintenance_engine_of_the_pages"


class ActionModule(ActionBase):  # type: ignore[misc]
    """What Ansible calls for a task.

    `path` is where the JSON text `report` goes, `beside` has more texts by their paths, and
    `totals` are the job's. `page` is "server", "fleet" or empty, `html` whether it is written,
    and `history` how many runs of a server are kept. `plan` has the `path` of a plan and what is
    `told` in it.
    """

    _VALID_ARGS = frozenset(
        ("beside", "history", "html", "page", "path", "plan", "report", "totals")
    )
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Write each file whole, in a check as well; reports no change."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        path = Path(args["path"]).expanduser()
        texts = {path: str(args["report"])}
        texts |= {Path(one).expanduser(): text for one, text in args.get("beside", {}).items()}
        at = path
        try:
            for at, text in texts.items():
                write(at, text)
            if plan := args.get("plan"):
                at = Path(plan["path"]).expanduser()
                text = json.dumps(plan["told"], indent=4, ensure_ascii=False) + "\n"
                write(at, text, PLAN_MODE, PLANS_MODE)
                result["ansible_stats"] = handed_on(plan["told"])
            at = page_of(path)
            self._show(path, json.loads(texts[path]))
        except OSError as error:
            why = error.strerror or str(error)
            return {**result, "failed": True, "msg": f"{at} cannot be written: {why}"}
        if totals := args.get("totals"):
            result["ansible_stats"] = {"data": totals, "aggregate": False, "per_host": False}
        return {**result, "changed": False}

    def _show(self, path: Path, report: Mapping[str, Any]) -> None:
        """Keep the run of a server, and write the page that people read."""
        kind, html = self._task.args.get("page", ""), self._task.args.get("html", True)
        if kind == "server":
            # A run that failed before it began says neither.
            begun = {"check_mode": self._task.check_mode, "started": _now(), **report}
            runs, broken = self._remember(path, report, begun)
            if html:
                write(page_of(path), server_page(path, begun, runs, broken))
        elif kind and html:
            write(page_of(path), fleet_page(path, report))

    def _remember(
        self, path: Path, report: Mapping[str, Any], begun: Mapping[str, Any]
    ) -> tuple[list[Any], list[str]]:
        """Return the earlier runs of a server and the files that are none; keep this run.

        A check and a look are no runs. Whatever becomes of the history, the report is there.
        """
        keep, past, history = int(self._task.args.get("history", 0)), folder_of(path), _history()
        is_run = not begun["check_mode"] and not _looks(path)
        this = f"{history.instant(begun, _now())}.json"
        try:
            names = _names(past)
            earlier = history.newest(names - {this}, keep - 1 if is_run else keep)
            runs, broken = history.read(_texts(past, earlier))
            if is_run and keep:
                write(past / this, json.dumps(report, separators=(",", ":")))
            for old in history.surplus({*names, this}, keep) if is_run else ():
                (past / old).unlink(missing_ok=True)
        except OSError as error:
            self._display.warning(f"{error.filename or past} of the history: {error.strerror}")
            return [], []
        broken += history.foreign(names)
        if broken:
            self._display.warning(f"these files in {past} are no reports: {', '.join(broken)}")
        return runs, broken


def server_page(
    path: Path, report: Mapping[str, Any], runs: Sequence[Any], broken: Sequence[str]
) -> str:
    """Return the page of a server.

    Args:
        path: where the JSON of the report lies.
        report: that JSON.
        runs: earlier ones.
        broken: files among theirs that hold no run.
    """
    render = _engine("page").host_page
    page: str = render(report, runs, broken, path.name, _TEMPLATES, looks=_looks(path))
    return page


def fleet_page(path: Path, summary: Mapping[str, Any]) -> str:
    """Return the page of a rollout, with the last runs that are kept of its servers.

    Args:
        path: where the JSON of the summary lies, beside the servers' reports.
        summary: that JSON.
    """
    history, runs = _history(), {}
    for host in summary["hosts"]:
        past = folder_of(path.with_name(host.get("report") or path.name))
        texts = _texts(past, history.newest(_names(past), _SHOWN))
        runs[host["host"]], _ = history.read(texts)
    pages = {page.name for page in path.parent.glob("*.html")}
    page: str = _engine("page").fleet_page(summary, runs, pages, path.name, _TEMPLATES)
    return page


def handed_on(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job of AWX gives to the next one: the plan of each host, without its detail."""
    short = {key: value for key, value in plan.items() if key != "plan"}
    data = {_HANDED_ON: {plan["host"]: short}}
    return {"data": data, "aggregate": True, "per_host": False}


def page_of(path: Path) -> Path:
    """Return where the page of a JSON file lies."""
    return path.with_name(f"{path.stem}.html")


def folder_of(path: Path) -> Path:
    """Return where the earlier runs of a server lie, whose report is a JSON file."""
    return path.parent / HISTORY / path.stem.removesuffix(LOOK)


def _names(folder: Path) -> set[str]:
    """Return what lies in a folder; what another process is about to write is hidden."""
    found = folder.iterdir() if folder.is_dir() else ()
    return {path.name for path in found if not path.name.startswith(".")}


def _texts(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the texts of files; one that cannot be read is empty, which is no report."""
    texts = {}
    for name in names:
        try:
            texts[name] = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            texts[name] = ""
    return texts


def _looks(path: Path) -> bool:
    """Tell whether a report is one that only measures, by its file's name."""
    return path.stem.endswith(LOOK)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _history() -> Any:
    return _engine("history")


@cache
def _engine(part: str) -> Any:
    """Load a part of the engine that the role carries which needs Python and Jinja alone."""
    if _PACKAGE not in sys.modules:
        init = _ENGINE / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            _PACKAGE, init, submodule_search_locations=[str(_ENGINE)]
        )
        if spec is None or spec.loader is None:
            raise AnsibleError(f"{init} cannot be loaded")
        sys.modules[_PACKAGE] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    return import_module(f"{_PACKAGE}.report.{part}")


def write(path: Path, text: str, mode: int = FILE_MODE, folder_mode: int = FOLDER_MODE) -> None:
    """Write a file that readers find either as it was or whole; its folder is made.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
    with NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=".", delete=False
    ) as file:
        file.write(text)
    try:
        Path(file.name).chmod(mode)
        Path(file.name).replace(path)
    except OSError:
        Path(file.name).unlink()
        raise
