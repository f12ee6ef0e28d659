"""Logs of which most are old, so that a purge leaves space to give back."""

from __future__ import annotations

from functools import partial

import sqlalchemy as sa
from maintenance import clear, engine_for, request

ROWS = 40_000

# By deletes, as of now, and such that what they leave is worth to be given back.
reclaiming = partial(request, policy=None, vacuum_min_bytes=1_000_000, purge_strategy="delete")


def with_old_logs(url: str) -> str:
    """Leave nothing but logs in a database, nine in ten of them old; returns its URL."""
    engine = engine_for(url)
    clear(engine)
    postgresql = engine.dialect.name == "postgresql"
    new_id = "gen_random_uuid()" if postgresql else "lower(hex(randomblob(16)))"
    times = (
        ("now() - interval '90 days'", "now()")
        if postgresql
        else (
            "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-90 days')",
            "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        )
    )
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :rows) "
                "INSERT INTO log (id, name, level, message, timestamp) "
                f"SELECT {new_id}, 'l', 20, 'a line of some length, as logs have them', "
                f"CASE WHEN n % 10 > 0 THEN {times[0]} ELSE {times[1]} END FROM s"
            ),
            {"rows": ROWS},
        )
    engine.dispose()
    return url
