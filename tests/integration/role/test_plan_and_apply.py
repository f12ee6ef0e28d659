"""A plan as people work with it: a check writes it, somebody looks, a play applies it."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from maintenance import engine_for, fill
from sites import Site
from world import SAME, TABLES, Policy, dump

from lab.server import PrefectServer

# The server writes events meanwhile.
OURS = [table for table in TABLES if not table.startswith("event")]
# More of these would go than a plan had that was made before.
MORE = """
INSERT INTO log (id, name, level, message, timestamp)
WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 500)
SELECT lower(hex(randomblob(16))), 'more', 20, 'm', '2020-01-01 00:00:00.000000' FROM s
"""


def test_a_plan_is_written_looked_at_and_applied(
    shared_sqlite_server: PrefectServer, tmp_path: Path
) -> None:
    now = datetime.now(UTC) + timedelta(minutes=30)
    fill(shared_sqlite_server.db_url, Policy(now, SAME), seed=5)
    engine, site = engine_for(shared_sqlite_server.db_url), Site(shared_sqlite_server, tmp_path)
    plans = tmp_path / "plans"

    site.variables = {"prefect_maintenance_plan_out": str(plans)}
    before = dump(engine, OURS)
    checked = site.play("maintain", "--check")
    assert checked.returncode == 0, checked.stdout
    assert dump(engine, OURS) == before
    file = plans / "demo.plan.json"
    assert [path.name for path in plans.iterdir()] == [file.name]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    plan = json.loads(file.read_text())
    foretold = site.report()
    assert plan["rows"] == {table: n for table, n in foretold["deleted"].items() if n}
    assert plan["fingerprint"] == foretold["plan"]["fingerprint"]
    assert plan["plan"] == foretold["plan"]
    assert plan["policy"]["retention"] == SAME

    apply = {"prefect_maintenance_plan_in": str(plans)}
    with engine.begin() as connection:
        connection.execute(sa.text(MORE))
    site.variables = {**apply, "prefect_maintenance_retention": {"logs": 14}}
    changed = site.play("maintain")
    assert changed.returncode != 0
    assert "retention.logs was 15, is 14; log: " in changed.stdout
    assert "more than plan_drift 10 % allows" in changed.stdout
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM log WHERE name = 'more'"))
    assert dump(engine, OURS) == before

    site.variables = apply
    done = site.play("maintain")
    assert done.returncode == 0, done.stdout
    report = site.report()
    assert report["deleted"] == foretold["deleted"]
    assert report["reference_time"] == plan["reference_time"]
    assert f"{plan['fingerprint']}, saved on " in done.stdout
    engine.dispose()
