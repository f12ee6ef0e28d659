"""Hear each statement of the engine right before it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa


@contextmanager
def heard(note: Callable[[Any, str, Any], None]) -> Iterator[None]:
    """Call a function before each statement with its cursor, its text and its values."""

    def before(_: Any, cursor: Any, statement: str, values: Any, *__: Any) -> None:
        note(cursor, statement, values)

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", before)
