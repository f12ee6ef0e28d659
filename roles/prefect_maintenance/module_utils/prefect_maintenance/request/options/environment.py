"""Options of the environment that the tool makes for itself on the target."""

from __future__ import annotations

from .option import WHOLE, Group, Option

_ENTRIES = (*WHOLE, "privileges")

ENVIRONMENT = Group(
    "The tool's own environment on the target",
    (
        Option(
            "home",
            "path",
            "Folder on the target that holds the tool's own environment.",
            default="~/.prefect-maintenance",
            entries=(*_ENTRIES, "stop"),
        ),
        Option(
            "python",
            "str",
            "An interpreter on the target, used instead of an environment of the tool's own.",
            ("It has C(prefect), C(sqlalchemy) and C(psycopg2).",),
            entries=_ENTRIES,
        ),
        Option(
            "base_python",
            "str",
            "The Python, 3.11 or newer, from which the environment is made.",
            default="python3",
            entries=_ENTRIES,
        ),
        Option(
            "prefect_version",
            "str",
            "Version of Prefect in the environment; it must fit the server.",
            default="3.8.8",
            entries=_ENTRIES,
        ),
        Option(
            "pip_extra_args",
            "str",
            "More arguments for pip, for example C(--no-index --find-links /srv/wheels) on a "
            "target without a package index.",
            ("Put no secrets here; they would show in the process list.",),
            entries=_ENTRIES,
        ),
    ),
)
