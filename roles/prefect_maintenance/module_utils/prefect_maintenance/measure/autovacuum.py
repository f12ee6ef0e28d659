"""Which settings of autovacuum would keep a table small: PostgreSQL's defaults wait for a fifth.

A table of ten million rows is vacuumed only when two million of them are dead, and it never gets
smaller than that. What is set stricter already is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..catalogue import TABLES
from ..database.connection import Database

_OPTIONS = """
SELECT o.option_name, o.option_value FROM pg_class c, pg_options_to_table(c.reloptions) o
WHERE c.oid = to_regclass(:t)
"""
_SERVER = """
SELECT name, setting FROM pg_settings WHERE name IN ('autovacuum', 'track_counts',
  'autovacuum_vacuum_scale_factor', 'autovacuum_vacuum_insert_scale_factor',
  'autovacuum_analyze_scale_factor')
"""

_OWNED = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(:t)"

# As PostgreSQL takes a boolean; it keeps the word that was given.
_OFF = ("false", "off", "no", "0", "f", "n", "fals", "fal", "fa", "of")

ENABLED = "autovacuum_enabled"
# Settings of the server without which no table is vacuumed by itself.
SWITCHES = ("autovacuum", "track_counts")
# By the least rows of a table: the share of its rows that may be dead, new or changed until it is
# vacuumed or analysed, and why it matters. A smaller table is quickly vacuumed at the defaults.
_SHARES: tuple[tuple[int, Mapping[str, float]], ...] = (
    (
        10_000_000,
        {
            "autovacuum_vacuum_scale_factor": 0.01,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
            "autovacuum_analyze_scale_factor": 0.01,
        },
    ),
    (
        1_000_000,
        {
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_insert_scale_factor": 0.1,
            "autovacuum_analyze_scale_factor": 0.02,
        },
    ),
)
_WHY = {
    "autovacuum_vacuum_scale_factor": "{rows:,} rows may be dead before they are removed",
    "autovacuum_vacuum_insert_scale_factor": "{rows:,} new rows pile up for one long VACUUM",
    "autovacuum_analyze_scale_factor": "{rows:,} rows change before the planner hears of it",
}


@dataclass(frozen=True)
class Setting:
    """A setting of autovacuum that lets a table grow, and a better one.

    Attributes:
        table: whose; None is the whole server.
        setting: its name, as PostgreSQL has it.
        now: what holds, be it the table's own or the server's: a share, "on" or "off".
        suggested: what would be better.
        why: what follows from the present one, for people.
        do: the statement that sets it.
        set: whether the maintenance has set it.
    """

    table: str | None
    setting: str
    now: float | str
    suggested: float | str
    why: str
    do: str
    set: bool = False


def autovacuum(database: Database, rows: Mapping[str, int]) -> tuple[Setting, ...]:
    """Return what of autovacuum's settings lets the server's tables grow; nothing on SQLite.

    Args:
        database: where.
        rows: of each table that is looked at.
    """
    if not database.is_postgresql:
        return ()
    server = dict(map(tuple, database.rows(_SERVER)))
    found = list(of_server(server))
    for table in TABLES:
        if table.name in rows and table.reclaim:
            own = dict(map(tuple, database.rows(_OPTIONS, t=table.name)))
            found += of_table(table.name, rows[table.name], own, server)
    return tuple(found)


def settable(
    database: Database, settings: Iterable[Setting]
) -> tuple[tuple[Setting, ...], tuple[str, ...]]:
    """Return the settings of single tables that may be set, and what is told of the others."""
    own = [one for one in settings if one.table is not None]
    owned = {one.table: database.scalar(_OWNED, t=one.table) for one in own}
    return (
        tuple(one for one in own if owned[one.table]),
        tuple(
            f"{one.setting} of {one.table} is not set, because the role in db_url does not own it; "
            f"as its owner: {one.do}"
            for one in own
            if not owned[one.table]
        ),
    )


def of_server(server: Mapping[str, str]) -> tuple[Setting, ...]:
    """Return the switches that keep the whole server from vacuuming by itself."""
    why = "no table of the server is vacuumed by itself"
    return tuple(
        Setting(
            None, name, "off", "on", why, f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()"
        )
        for name in SWITCHES
        if server[name] == "off"
    )


def of_table(
    table: str, rows: int, own: Mapping[str, str], server: Mapping[str, str]
) -> tuple[Setting, ...]:
    """Return the settings of one table that let it grow.

    Args:
        table: its name.
        rows: that it has.
        own: its storage parameters.
        server: the settings that hold where it has none.
    """
    found = []
    if own.get(ENABLED, "true").lower() in _OFF:
        why = "it is never vacuumed by itself"
        found.append(Setting(table, ENABLED, "off", "on", why, _set(table, ENABLED, "on")))
    shares = next((shares for least, shares in _SHARES if rows >= least), {})
    for name, share in shares.items():
        now = float(own.get(name, server[name]))
        if now > share:
            why = _WHY[name].format(rows=int(now * rows))
            found.append(Setting(table, name, now, share, why, _set(table, name, share)))
    return tuple(found)


def _set(table: str, name: str, value: float | str) -> str:
    return f"ALTER TABLE {table} SET ({name} = {value})"
