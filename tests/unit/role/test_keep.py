"""What the controller keeps of a run: the report first, then its page and the runs before it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pages import new_report, old_report

from lab.environments import ROOT

ACTION = ROOT / "roles" / "prefect_maintenance" / "action_plugins" / "prefect_maintenance_keep.py"
DAYS = [f"2026-05-{day:02}T03:00:00Z" for day in range(1, 10)]


@pytest.fixture(scope="module")
def action() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keep_action", ACTION)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Keeper:
    """A folder of reports into which the action writes as a task has it do."""

    def __init__(self, action: ModuleType, folder: Path) -> None:
        self.action, self.folder = action, folder
        self.warnings: list[str] = []

    def __call__(
        self, report: dict[str, Any], name: str = "a", *, check: bool = False, **args: Any
    ) -> dict[str, Any]:
        """Keep a report under a name; returns the task's result."""
        given = {
            "path": str(self.folder / f"{name}.json"), "report": json.dumps(report),
            "page": "server", "html": True, "history": 3, **args,
        }  # fmt: skip
        task = SimpleNamespace(args=given, check_mode=check, async_val=0, action="keep")
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="unused"))
        plugin = self.action.ActionModule(task, connection, None, None, None, None)
        plugin._display = SimpleNamespace(warning=self.warnings.append)
        result: dict[str, Any] = plugin.run(None, {})
        return result

    def files(self) -> list[str]:
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.folder)) for path in found)

    def page(self, name: str = "a") -> str:
        return (self.folder / f"{name}.html").read_text()


@pytest.fixture
def keep(action: ModuleType, tmp_path: Path) -> Keeper:
    return Keeper(action, tmp_path / "reports")


def of_day(started: str, **changes: Any) -> dict[str, Any]:
    return {**old_report(), "started": started, **changes}


def test_a_run_leaves_its_report_a_page_and_itself_for_the_next(keep: Keeper) -> None:
    assert keep(of_day(DAYS[0])) == {"changed": False}
    assert keep.files() == ["a.html", "a.json", f"history/a/{DAYS[0]}.json"]
    assert json.loads((keep.folder / "a.json").read_text()) == of_day(DAYS[0])
    assert json.loads((keep.folder / f"history/a/{DAYS[0]}.json").read_text()) == of_day(DAYS[0])
    assert "The last" not in keep.page()
    keep(of_day(DAYS[1]))
    assert "The last 2 runs" in keep.page()
    assert "Beside the run of 2026-05-01 03:00:00 UTC" in keep.page()
    assert keep.warnings == []


def test_the_same_run_written_twice_is_one(keep: Keeper) -> None:
    keep(of_day(DAYS[0]))
    before = keep.page()
    keep(of_day(DAYS[0]))
    assert keep.files() == ["a.html", "a.json", f"history/a/{DAYS[0]}.json"]
    assert keep.page() == before


def test_as_many_runs_are_kept_as_were_asked_for_and_the_oldest_go(keep: Keeper) -> None:
    for day in DAYS:
        keep(of_day(day))
    kept = [f"history/a/{day}.json" for day in DAYS[-3:]]
    assert keep.files() == ["a.html", "a.json", *kept]
    assert "The last 3 runs" in keep.page()
    keep(of_day("2026-06-01T00:00:00Z"), history=0)
    assert keep.files() == ["a.html", "a.json"]
    assert "The last" not in keep.page()


def test_a_check_and_a_look_are_no_runs(keep: Keeper) -> None:
    keep(of_day(DAYS[0]))
    keep(of_day(DAYS[1]))
    keep(of_day(DAYS[2], check_mode=True), check=True)
    assert "The last 2 runs" in keep.page()
    keep({"status": "failed", "errors": ["no"]}, check=True)
    keep(of_day(DAYS[3]), "a-report", history=1)
    assert "Prefect database" in keep.page("a-report")
    names = ["a-report.html", "a-report.json", "a.html", "a.json"]
    assert keep.files() == [*names, *(f"history/a/{day}.json" for day in DAYS[:2])]


def test_a_run_that_says_no_instant_is_kept_and_leaves_the_folder_of_no_other(
    keep: Keeper,
) -> None:
    keep({"status": "failed", "errors": ["cannot connect"], "started": "../../../up"})
    names = keep.files()
    assert names[:2] == ["a.html", "a.json"]
    assert names[2].startswith("history/a/2")
    assert len(names) == 3
    assert not list(keep.folder.parent.glob("up*"))


def test_without_pages_there_are_none_and_runs_are_kept_all_the_same(keep: Keeper) -> None:
    keep(of_day(DAYS[0]), html=False)
    assert keep.files() == ["a.json", f"history/a/{DAYS[0]}.json"]


def test_what_is_no_run_in_the_history_is_named_and_stays(keep: Keeper) -> None:
    past = keep.folder / "history" / "a"
    past.mkdir(parents=True)
    (past / f"{DAYS[0]}.json").write_text("{ broken")
    (past / "notes.txt").write_text("mine")
    (past / f"{DAYS[1]}.json").mkdir()
    (past / f"{DAYS[2]}.json").write_bytes(b"\xff\xfe")
    result = keep(of_day(DAYS[3]), history=9)
    assert result == {"changed": False}
    [said] = keep.warnings
    for name in (f"{DAYS[0]}.json", f"{DAYS[1]}.json", f"{DAYS[2]}.json", "notes.txt"):
        assert name in said
        assert name in keep.page()
    assert (past / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("where", ["history", "history/a"])
def test_a_history_that_cannot_be_written_costs_neither_report_nor_page(
    keep: Keeper, where: str
) -> None:
    (keep.folder / where).parent.mkdir(parents=True)
    (keep.folder / where).write_text("in the way")
    assert keep(of_day(DAYS[0])) == {"changed": False}
    assert "history" in keep.warnings[0]
    assert "Prefect maintenance" in keep.page()


def test_a_page_that_cannot_be_written_fails_the_task_after_the_report(keep: Keeper) -> None:
    (keep.folder / "a.html").mkdir(parents=True)
    result = keep(of_day(DAYS[0]))
    assert result["failed"] is True
    assert result["msg"] == f"{keep.folder}/a.html cannot be written: Is a directory"
    assert json.loads((keep.folder / "a.json").read_text())["host"] == "db1.example.org"


def test_the_page_of_a_rollout_has_the_runs_of_its_servers(keep: Keeper, fleet: ModuleType) -> None:
    for day in DAYS[:2]:
        keep(of_day(day), "a", history=9)
        keep(new_report() | {"started": day, "finished": day}, "b%2Fc", history=9)
    records = {"a": fleet.record(of_day(DAYS[1])), "b/c": fleet.record(new_report())}
    summary = fleet.fleet({**records, "gone": {}}, "50", False, DAYS[1])
    beside = {str(keep.folder / "fleet.retry"): "gone\n"}
    keep(summary, "fleet", page="fleet", beside=beside, totals={"x": 1})
    assert keep.page("fleet").count('class="mark-ok"') == 4
    assert '<a href="b%252Fc.html">b/c</a>' in keep.page("fleet")
    assert (keep.folder / "fleet.retry").read_text() == "gone\n"
    keep(summary, "fleet-schedule", page="")
    assert not (keep.folder / "fleet-schedule.html").exists()
