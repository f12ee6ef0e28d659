"""What leaves the database with the objects that are deleted."""

from __future__ import annotations

from collections.abc import Iterable

from ..plan.rules import listed

# What leaves the database with the objects of a batch, themselves first: by table, which rows.
_LEAVES_WITH = {
    "flow_run": {
        "flow_run": "flow_run x WHERE x.id IN {ids}",
        "flow_run_state": "flow_run_state x WHERE x.flow_run_id IN {ids}",
        "flow_run_input": "flow_run_input x WHERE x.flow_run_id IN {ids}",
        "task_run": "task_run x WHERE x.flow_run_id IN {ids}",
        "task_run_state": "task_run_state x JOIN task_run t ON t.id = x.task_run_id "
        "WHERE t.flow_run_id IN {ids}",
        "log": "log x WHERE x.flow_run_id IN {ids}",
    },
    "task_run": {
        "task_run": "task_run x WHERE x.id IN {ids}",
        "task_run_state": "task_run_state x WHERE x.task_run_id IN {ids}",
        "log": "log x WHERE x.task_run_id IN {ids}",
    },
    "artifact": {"artifact": "artifact x WHERE x.id IN {ids}"},
}


def count_leaving(table: str, ids: Iterable[str], *, but: Iterable[str] = ()) -> str:
    """Count by table what leaves with objects of a table.

    Args:
        table: of the objects.
        ids: of the objects.
        but: tables that are not asked about.
    """
    listed_ids, left_out = listed(ids), set(but)
    counts = (
        f"(SELECT count(*) FROM {rows.format(ids=listed_ids)}) AS {name}"
        for name, rows in _LEAVES_WITH[table].items()
        if name not in left_out
    )
    return f"SELECT {', '.join(counts)}"
