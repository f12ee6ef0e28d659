"""Databases with Prefect's schema, migrated once, of which all others are copies.

A migration takes ten seconds of a processor, and a copy one. The copy is of the files, so it has
what a migration leaves in them: dropped columns, dead rows.
"""

from __future__ import annotations

import shutil

from . import environments
from .postgres import Postgres
from .server import SQLITE_SEED, migrate, template_of


def make(version: str = environments.POSTGRES) -> None:
    """Make what later clusters of this PostgreSQL and later SQLite files begin with."""
    locks = environments.seed_locks()
    home = environments.CACHE / f"seed-{version}"
    with environments.made_once(home, *locks) as missing:
        if missing:
            with Postgres(version) as cluster:
                name = template_of(environments.NEWEST)
                migrate(cluster.create_database(name))
                cluster.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
                cluster.stop()
                shutil.copytree(cluster.data, home)
    with environments.made_once(SQLITE_SEED.parent, *locks) as missing:
        if missing:
            SQLITE_SEED.parent.mkdir()
            migrate(f"sqlite:///{SQLITE_SEED}")
