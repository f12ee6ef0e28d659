"""What it took to make something on the server as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Change:
    """What differed, before and after; and what the door should say."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    answers: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything differed."""
        return self.before != self.after
