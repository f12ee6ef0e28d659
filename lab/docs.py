"""Write what follows from the table of options, and the schema of the report: `make docs`.

Every other text here is made of the groups of options alone, so that a new option is a row there
and the code that uses it. What stands before and after the marks is written by hand and stays.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from prefect_maintenance.request import options as table
from prefect_maintenance.request.options import GROUPS, Group, Option

from . import report_schema
from .environments import ROOT
from .option_texts import (
    PREFIX,
    default_in_role,
    details,
    inline,
    literal,
    of_module,
    of_role,
    plain,
    row,
    specified,
)

ROLE = ROOT / "roles" / "prefect_maintenance"
DEFAULTS = ROLE / "defaults" / "main.yml"
SPECS = ROLE / "meta" / "argument_specs.yml"
README = ROOT / "README.md"
VARIABLES = ROOT / "docs" / "variables.md"
REPORT_SCHEMA = ROOT / "docs" / "report.schema.json"
SURVEYS = ROOT / "awx" / "job_templates"

MARK = "# Written by make docs from request/options."
BEGIN = "<!-- Written by make docs from request/options. -->\n"
END = "<!-- The end of what make docs writes. -->\n"
_HEAD = "| Variable | Default | Meaning |\n|---|---|---|\n"


def main() -> int:
    """Write the files that differ, and name them."""
    for path, text in pages().items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(path.relative_to(ROOT))
    return 0


def pages(groups: Sequence[Group] = GROUPS) -> dict[Path, str]:
    """Return the whole text of every file that has something of the table in it."""
    options = tuple(chain.from_iterable(group.options for group in groups))
    common = [option for option in options if option.common]
    found = {
        path: module(path.read_text(), table.of_module(path.stem, options))
        for path in sorted((ROLE / "library").glob("*.py"))
    }
    found[DEFAULTS] = defaults(groups)
    found[SPECS] = specs(SPECS.read_text(), options)
    found[README] = filled(README.read_text(), BEGIN, _table(common), END)
    found[VARIABLES] = filled(VARIABLES.read_text(), BEGIN, variables(groups), END)
    found[REPORT_SCHEMA] = report_schema.text()
    for path in sorted(SURVEYS.glob("*.yml")):
        found[path] = survey(path.read_text(), options)
    return found


def module(text: str, options: Sequence[Option]) -> str:
    """Return a module's file with these options in its documentation and its argument spec."""
    documented = "".join(of_module(option, indent=2) for option in options)
    text = filled(text, f"{MARK}\noptions:\n", documented, '"""\n')
    spec = {
        option.name: {**specified(option), **({"no_log": True} if option.secret else {})}
        for option in options
    }
    begin, end = f"        {MARK}\n        argument_spec=", "        supports_check_mode"
    return filled(text, begin, f"{literal(spec, indent=8)},\n", end)


def defaults(groups: Sequence[Group]) -> str:
    """Return the role's defaults, group by group."""
    parts = [f"---\n{MARK}\n# docs/variables.md says what each variable means.\n"]
    for group in groups:
        lines = [
            f"{PREFIX}{option.name}: {inline(default_in_role(option))}\n"
            for option in group.options
            if "main" in option.entries
        ]
        if lines:
            parts.append(f"# {group.title}.\n{''.join(lines)}")
    return "\n".join(parts)


def specs(text: str, options: Sequence[Option]) -> str:
    """Return the role's specs with the variables of each entry point."""
    head, *entries = re.split(r"^  (?=\S+:$)", text, flags=re.M)
    whole = table.of_entry("main", options)
    return head + "".join(f"  {_entry(entry, options, whole)}" for entry in entries)


def _entry(text: str, options: Sequence[Option], whole: Sequence[Option]) -> str:
    name = text.split(":")[0]
    taken = table.of_entry(name, options)
    if not taken:
        listed = " {}\n"
    elif name != "main" and taken == whole:
        listed = " *main\n"
    else:
        anchor = " &main" if name == "main" else ""
        listed = f"{anchor}\n{''.join(of_role(option, indent=6) for option in taken)}"
    return filled(text, f"    {MARK}\n    options:", listed)


def variables(groups: Sequence[Group]) -> str:
    """Return every variable of the role, group by group, and the parameters of the flow."""
    parts = []
    for group in groups:
        shown = [option for option in group.options if option.entries]
        if shown:
            parts.append(f"\n## {group.title}\n\n{_table(shown)}")
            if more := "".join(map(details, shown)):
                parts.append(f"\n{more}")
    taken = table.of_flow([option for group in groups for option in group.options])
    listed = "".join(f"- `{option.name}`: {plain(option.says)}\n" for option in taken)
    return "".join(parts) + f"\n## Parameters of the scheduled flow\n\n{listed}\n"


def survey(text: str, options: Sequence[Option]) -> str:
    """Return a job template with the choices and bounds of its survey's questions."""
    return "".join(_question_lines(text, {option.name: option for option in options}))


def _question_lines(text: str, named: dict[str, Option]) -> Iterator[str]:
    asked: Option | None = None
    for line in text.splitlines(keepends=True):
        if about := re.match(rf" +variable: {PREFIX}(\w+)$", line):
            asked = named[about[1]]
        limit = re.match(r"( +)(min|max|choices): ", line)
        value = _limit(asked, limit[2]) if asked and limit else None
        yield line if limit is None or value is None else f"{limit[0]}{inline(value)}\n"


def _limit(option: Option, what: str) -> list[str] | int | None:
    if what == "choices":
        return list(option.choices or option.known) or None
    return option.bounds[what == "max"] if option.bounds else None


def _table(options: Sequence[Option]) -> str:
    return _HEAD + "".join(map(row, options))


def filled(text: str, begin: str, body: str, end: str = "") -> str:
    """Return a text with something else between two marks, or behind the only one.

    Raises:
        ValueError: a mark is missing.
    """
    head, found, rest = text.partition(begin)
    if not found:
        raise ValueError(f"there is no {begin!r}")
    if not end:
        return head + begin + body
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"there is no {end!r} after {begin!r}")
    return head + begin + body + end + tail


if __name__ == "__main__":
    sys.exit(main())
