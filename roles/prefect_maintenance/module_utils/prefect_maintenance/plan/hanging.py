"""What hangs on an object and leaves with it, as the catalogue has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..catalogue import FLOW_RUN, TABLES, TASK_RUN, Table


@dataclass(frozen=True)
class Hanging:
    """Rows `x` of a table that leave with an object.

    Attributes:
        rows: what stands after FROM, `x` and the rows between it and the object.
        key: the column that names the object.
    """

    table: Table
    rows: str
    key: str


def cascading(table: Table) -> Iterator[Hanging]:
    """Yield what foreign keys take along with objects of a table, at whatever distance."""
    for child in TABLES:
        for parent in child.parents:
            if parent.table != table.name or not parent.enforced:
                continue
            yield Hanging(child, f"{child.name} x", f"x.{parent.column}")
            for deeper in cascading(child):
                rows = f"{deeper.rows} JOIN {child.name} ON {child.name}.id = {deeper.key}"
                yield Hanging(deeper.table, rows, f"{child.name}.{parent.column}")


def trailing(table: Table) -> Iterator[Hanging]:
    """Yield what goes after objects of a table although no foreign key takes it along."""
    for child in TABLES:
        for parent in child.parents:
            if parent.table == table.name and not (parent.enforced or child.outlives):
                yield Hanging(child, f"{child.name} x", f"x.{parent.column}")


def weight(table: Table, key: str) -> str:
    """Write how many rows one transaction deletes with the object of that key, itself included."""
    counts = (f"(SELECT count(*) FROM {h.rows} WHERE {h.key} = {key})" for h in cascading(table))
    return " + ".join(("1", *counts))


def count_hanging(table: Table, listed: str) -> str:
    """Write the query of the rows that foreign keys take along with each listed object.

    It reads each table once, however many objects are listed, and returns `id` and `rows`, once
    for each table that has some.
    """
    return " UNION ALL ".join(
        f"SELECT {h.key} AS id, count(*) AS rows FROM {h.rows} JOIN {listed} d ON d.id = {h.key} "
        f"GROUP BY {h.key}"
        for h in cascading(table)
    )


def run_of(table: Table, row: str) -> str:
    """Write the flow run that a row belongs to, by itself or through its task run."""
    columns = {parent.table: f"{row}.{parent.column}" for parent in table.parents}
    own, task = columns[FLOW_RUN.name], columns.get(TASK_RUN.name)
    if task is None:
        return own
    above = run_of(TASK_RUN, "o")
    return f"COALESCE({own}, (SELECT {above} FROM {TASK_RUN.name} o WHERE o.id = {task}))"


def count_leaving(table: Table, ids: str, *, trailers: bool) -> str:
    """Write the count, by table, of what leaves with objects.

    Args:
        table: of the objects.
        ids: of the objects, as an SQL list.
        trailers: also what no foreign key takes along.
    """
    leaving = [Hanging(table, f"{table.name} x", "x.id"), *cascading(table)]
    leaving += trailing(table) if trailers else ()
    counts = (
        f"(SELECT count(*) FROM {h.rows} WHERE {h.key} IN {ids}) AS {h.table.name}" for h in leaving
    )
    return f"SELECT {', '.join(counts)}"
