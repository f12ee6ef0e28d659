"""Options that say what goes, and when."""

from __future__ import annotations

from .option import STEPS, WHOLE, Group, Option

# A hundred years reach back before any computer.
DAYS = (1, 36500)

RETENTION = Group(
    "What goes, and when",
    (
        Option(
            "retention_days",
            "int",
            "Days for which everything is kept.",
            ("O(retention) may name other days for an entity.",),
            default=15,
            bounds=DAYS,
            modules=STEPS,
            entries=WHOLE,
            flow=True,
            common=True,
        ),
        Option(
            "retention",
            "dict",
            "Days per entity, where they differ.",
            default={},
            known=("flow_runs", "task_runs", "artifacts", "logs", "events"),
            bounds=DAYS,
            modules=STEPS,
            entries=WHOLE,
            flow=True,
            common=True,
        ),
        Option(
            "states",
            "list",
            "Terminal states whose flow runs may go.",
            default=("COMPLETED", "FAILED", "CANCELLED"),
            elements="str",
            # Prefect: TERMINAL_STATES in prefect.client.schemas.objects.
            known=("COMPLETED", "FAILED", "CANCELLED", "CRASHED"),
            modules=STEPS,
            entries=WHOLE,
            flow=True,
            common=True,
        ),
    ),
)
