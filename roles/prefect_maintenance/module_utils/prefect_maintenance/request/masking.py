"""What keeps secrets out of texts, and leaves everything else in a report as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HIDDEN = "********"

# Shorter ones occur in any text; masking them would point at them.
_LEAST = 4
# Only from this length on is a secret masked inside of a word too.
_LONG = 12
# Words that reports are made of: to mask one of them says what the secret is.
_ORDINARY = """
admin api artifact artifact_collection cancelled completed crashed data database default delete
deleted error event_resources events exist failed false flow flow_run flow_run_input flow_run_state
grant host index kept lock logs maintenance name none partial password permission pg_repack plain
port postgres postgresql prefect public purge report rewrite role rows schema server sqlite state
table task_run task_run_state true user vacuum window
"""
# The keys of a report and of a result whose values are sentences; all others are data.
_SENTENCES = frozenset(
    {"do", "error", "errors", "exception", "lines", "msg", "reclaim_why", "strategy_why", "summary",
     "text", "warnings", "why"}
)  # fmt: skip


@dataclass(frozen=True)
class Mask:
    """Takes secrets out of texts.

    The data of a report never holds one: what is shown of an address is only what was read
    safely. So only sentences are masked, which may quote a driver or a server; a secret of
    `1` or `postgres` then damages nothing that a later step or a program reads.
    """

    secrets: tuple[str, ...]

    @classmethod
    def of(cls, secrets: Iterable[str]) -> Mask:
        """Make a mask for these secrets; the longest goes first."""
        told = {s for s in secrets if len(s) >= _LEAST and not _ordinary(s)}
        return cls(tuple(sorted(told, key=lambda s: (-len(s), s))))

    def text(self, text: str) -> str:
        """Return the text without the secrets."""
        for secret in self.secrets:
            if len(secret) >= _LONG:
                text = text.replace(secret, HIDDEN)
            else:
                text = re.sub(rf"(?<![\w.-]){re.escape(secret)}(?![\w-])", HIDDEN, text)
        return text

    def sentences(self, data: Any) -> Any:
        """Return a report or a result with the secrets taken out of its sentences."""
        if isinstance(data, Mapping):
            return {
                key: self._everywhere(value) if key in _SENTENCES else self.sentences(value)
                for key, value in data.items()
            }
        if isinstance(data, list | tuple):
            return [self.sentences(value) for value in data]
        return data

    def _everywhere(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self._everywhere(one) for one in value]
        return value


def _ordinary(secret: str) -> bool:
    return secret.lower() in _ORDINARY.split() or (secret.isdecimal() and len(secret) < _LONG)
