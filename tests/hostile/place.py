"""A statement of a step: its text without numbers and names, and what of the engine sends it."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import prefect_maintenance
from prefect_maintenance.catalogue import LOG, TABLES

_ENGINE = str(Path(prefect_maintenance.__file__).parent)
# These send what others in the engine say.
_SENDS = (f"{_ENGINE}/database/connection.py",)
_NAMES = "|".join(sorted((table.name for table in TABLES), key=len, reverse=True))
_TABLE = re.compile(rf"\b({_NAMES})(?=\b|__maintenance)")
# What is sent for one index, right or setting after the other is the same statement each time.
_REPEATED = (
    (re.compile(r"^(SET (?:LOCAL )?)\w+ = .*"), r"\1... = N"),
    (re.compile(r"^((?:ALTER|REINDEX) INDEX (?:CONCURRENTLY )?)\S+"), r"\1..."),
    (re.compile(r"^(ALTER INDEX \.\.\. RENAME TO )\S+"), r"\1..."),
    (re.compile(r"^(CREATE (?:UNIQUE )?INDEX )maintenance_new_N( ON \S+ ).*"), r"\1...\2..."),
    (re.compile(r"^GRANT \w+ ON (\S+) TO \S+"), r"GRANT ... ON \1 TO ..."),
)
# They look at nothing that the parties change, and change nothing that others see.
_QUIET = re.compile(
    r"SET |SHOW |BEGIN|SAVEPOINT |RELEASE |SELECT (pg_backend_pid\(\)$|set_config\(|current_user$"
    r"|current_setting\(|quote_ident\(%|pg_size_bytes\(current_setting|clock_timestamp\(\)$"
    r"|pg_postmaster_start_time|pg_wal_lsn_diff|pg_is_in_recovery|has_function_privilege"
    r"|DISTINCT pg_tablespace_location|count\(\*\) FROM pg_extension"
    r"|name, setting FROM pg_settings)"
)


@dataclass(frozen=True)
class Place:
    """A statement of a step, and how often it has come before.

    Attributes:
        text: the statement without what differs from run to run.
        sender: the function of the engine that sends it.
        time: 1 when it comes for the first time.
    """

    text: str
    sender: str
    time: int

    def __str__(self) -> str:
        digest = hashlib.sha256(f"{self.sender}{self.text}".encode()).hexdigest()[:6]
        return f"{self.text[:90]} #{self.time} ({self.sender}, {digest})"

    @cached_property
    def tables(self) -> frozenset[str]:
        """The tables that it is about; none where it is about no table more than another."""
        return frozenset(_TABLE.findall(self.text))

    def concerns(self, tables: Collection[str]) -> bool:
        """Whether it is about one of some tables, or about none more than another."""
        return not self.tables or bool(self.tables.intersection(tables))

    @cached_property
    def alike(self) -> tuple[str, str]:
        """What statements have in common that differ in the table's name only; logs stand alone."""
        of_logs = self.concerns({LOG.name})
        return self.text if of_logs else _TABLE.sub("...", self.text), self.sender

    @property
    def is_quiet(self) -> bool:
        """Whether only somebody who ends or holds up sessions can make a difference here."""
        own = not self.tables and "prefect_maintenance_" in self.text
        return own or bool(_QUIET.match(self.text))


@lru_cache(maxsize=20_000)
def normalised(statement: str, about: tuple[str, ...] = ()) -> str:
    """Return a statement without what differs from run to run, with the tables bound to it."""
    text = re.sub(r"\s+", " ", statement).strip()
    text = re.sub(r"'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'", "'N'", text)
    text = re.sub(r"'N'(, 'N')+", "'N'", text)
    text = re.sub(r"\d[\d:.+T-]*", "N", text)
    for pattern, replacement in _REPEATED:
        text = pattern.sub(replacement, text)
    return " ".join((text, *(f"[{table}]" for table in about)))


def tables_of(values: Any) -> tuple[str, ...]:
    """Return the tables that are named by what is bound to a statement."""
    if not isinstance(values, Mapping):
        return ()
    return tuple(sorted({v for v in values.values() if isinstance(v, str) and _TABLE.fullmatch(v)}))


@lru_cache
def _stem(file: str) -> str:
    return Path(file).stem


def sender() -> str:
    """Return which function of the engine sends the statement that is about to be sent."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_ENGINE) and file not in _SENDS:
            return f"{_stem(file)}.{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "another"
