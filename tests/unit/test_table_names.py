"""Tables are named in the catalogue; elsewhere only by a rule that is about them alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect_maintenance.catalogue import BY_NAME, EXCLUDED, TABLES

from lab.environments import ROOT

ENGINE = ROOT / "roles" / "prefect_maintenance" / "module_utils" / "prefect_maintenance"
FILES = sorted(set(ENGINE.rglob("*.py")) - {ENGINE / "catalogue.py"})
# Words of the retention policy too.
WORDS = {table.entity for table in TABLES}
IN_SQL = re.compile(
    r"\b(?:FROM|JOIN|UPDATE|INTO|TABLE|ON)\s+(" + "|".join((*BY_NAME, *EXCLUDED)) + r")\b"
)

RUNS = {"flow_run", "task_run"}
# What a file names in its SQL, and what it says of these tables that no row of the catalogue could.
REASONS: dict[str, tuple[set[str], str]] = {
    "measure/examine.py": ({"alembic_version", "flow_run"}, "the schema's revision; the states"),
    "measure/makers.py": ({*RUNS, "log", "flow", "deployment"}, "what people compare flows by"),
    "server/proof.py": ({"block_type", "variable"}, "what a proof of identity looks at"),
    "plan/rules.py": (RUNS, "finished, unfinished, gone: said of runs and their logs"),
    "plan/gone_runs.py": ({*RUNS, "log"}, "runs that logs name"),
    "plan/log_counts.py": (RUNS, "the run of each log"),
    "plan/candidates.py": (RUNS, "trees of runs and subflows"),
    "plan/due.py": (RUNS, "trees of runs and subflows"),
    "plan/stuck.py": ({*RUNS, "events"}, "unfinished for too long; workers that started anew"),
    "plan/signs_of_life.py": (RUNS, "trees of runs and subflows"),
    "plan/event_due.py": ({"events", "event_resources"}, "resources go with their event"),
    "plan/event_rules.py": ({"events"}, "the last of each resource"),
    "plan/log_rules.py": (RUNS, "logs whose run a rule decides about"),
    "plan/purge.py": ({"log"}, "orphans among logs that a rule keeps"),
    "plan/holds.py": ({"flow_run", "deployment"}, "tags of runs and of their deployments"),
    "plan/run_rules.py": (
        {"flow_run", "flow", "deployment", "work_queue", "work_pool"},
        "what rules name runs by",
    ),
    "plan/ranks.py": ({"flow_run"}, "the newest of each deployment"),
    "plan/survey.py": ({"flow_run"}, "why runs stay"),
    "plan/counts.py": (
        {*RUNS, "log", "events", "event_resources", "artifact", "artifact_collection"},
        "orphans, collections, and logs that go for more than one reason",
    ),
    "plan/hold_counts.py": ({"flow_run"}, "the age of runs that are held"),
    "plan/rule_warnings.py": (
        {"flow", "deployment", "work_pool", "flow_run", "log"},
        "names in rules; `log` is a kind of rules",
    ),
    "plan/what_if.py": (RUNS, "rows that go with their run or task run"),
    "report/rules.py": ({"log"}, "`log` is a kind of rules"),
    "execute/worklist.py": ({"flow_run"}, "the order of trees"),
    "execute/row_guards.py": (RUNS, "trees of runs and subflows, locked whole"),
    "execute/swap.py": ({"flow_run"}, "runs that were revived during a rewrite"),
    "execute/restore_sql.py": (
        {"artifact"},
        "a collection points to its newest artifact again",
    ),
    "request/restore.py": ({"flow_run"}, "the option that names one run"),
    "request/options/restore.py": ({"flow_run"}, "the option that names one run"),
    "execute/artifact_collections.py": (
        {"artifact", "artifact_collection"},
        "a collection repeats the columns of its newest artifact",
    ),
}


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a file but its docstrings."""
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def named(path: Path) -> set[str]:
    found: set[str] = set()
    for text in texts(ast.parse(path.read_text())):
        found |= set(IN_SQL.findall(text))
        found |= {text} & set(BY_NAME) - WORDS
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_a_file_names_no_table_without_a_reason(path: Path) -> None:
    names, _ = REASONS.get(str(path.relative_to(ENGINE)), (set(), ""))
    assert named(path) == names


def test_every_reason_is_of_a_file_that_is_there() -> None:
    assert set(REASONS) <= {str(path.relative_to(ENGINE)) for path in FILES}


def test_a_name_in_a_statement_or_by_itself_is_found(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text('A = "log"\nB = f"SELECT 1 FROM artifact a JOIN\\n  events e {A}"\n')
    assert named(file) == {"log", "artifact", "events"}
    file.write_text('"""DELETE FROM log."""\nA = "events"\nB = "the log of a flow_run"\n')
    assert named(file) == set()
