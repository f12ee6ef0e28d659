"""On a disk that is nearly full, work that frees comes before work that writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from maintenance import SmallDisk, name_of, run_step, small_disk, table
from prefect_maintenance.plan import closed

from lab.postgres import Postgres

MIB = 2**20
LOGS = """
INSERT INTO log (id, name, level, message, timestamp)
SELECT gen_random_uuid(), 'l', 20, repeat('m', 300),
       now() - CASE WHEN n <= 50000 THEN interval '90 days' ELSE interval '1 hour' END
FROM generate_series(1, 80000) n
"""
EVENTS = """
INSERT INTO events (id, occurred, event, resource_id, resource, related, related_resource_ids,
                    payload, received, recorded)
SELECT gen_random_uuid(), now() - interval '1 hour', 'e', 'r', '{}', '[]', '[]', '{}', now(), now()
FROM generate_series(1, 40000) n
"""
HOLES = "DELETE FROM events WHERE id > '10000000-0000-4000-8000-000000000000'"


LEFT = 8 * MIB
YOUNG = 30_000


@pytest.fixture(scope="module")
def small(cluster: Postgres, template: str) -> Iterator[SmallDisk]:
    with small_disk(cluster, template, "nearly_full") as disk:
        yield disk


def nearly_full(cluster: Postgres, disk: SmallDisk, *statements: str) -> dict[str, Any]:
    """Fill tables and then nearly all of the rest of their disk; returns a request."""
    (disk.folder / "ballast").unlink(missing_ok=True)
    for sql in ("TRUNCATE log, events", *statements, "VACUUM (ANALYZE) log, events"):
        cluster.execute(sql, name_of(disk.url))
    disk.fill(leave=LEFT)
    return {"db_url": disk.url, "vacuum_min_bytes": MIB, "lock_timeout": 60}


def free(disk: SmallDisk) -> int:
    return shutil.disk_usage(disk.folder).free


def test_a_copy_that_fits_only_after_others_gave_back_is_made_after_them(
    small: SmallDisk, cluster: Postgres
) -> None:
    asked = nearly_full(cluster, small, LOGS, EVENTS, HOLES)
    # The copy of the logs does not fit now, so their rows go by deletes, which need WAL only.
    purged = run_step("purge", {**asked, "purge_strategy": "rewrite"})
    decision = purged.report.plan.decisions["log"]
    assert (decision.strategy, purged.report.deleted["log"]) == ("delete", 50_000)
    for told in ("no room for the copy: it needs", "for the table", f"disk of {small.folder}"):
        assert told in decision.costs["rewrite"].why_not
    assert decision.why in " ".join(purged.report.warnings)
    done = run_step("vacuum", {**asked, "report": purged.report.as_json()})
    plan = {choice.table: choice for choice in done.report.plan.reclaim}
    assert [name for name, choice in plan.items() if choice.action != "plain"] == ["events", "log"]
    assert next(iter(plan.values())).action == "plain"
    assert plan["log"].ways["rewrite"].extra_bytes > LEFT
    for name in ("events", "log"):
        assert table(done, name).reclaim == "rewrite"
    assert table(done).rows_after == YOUNG
    assert done.report.warnings == purged.report.warnings


def test_a_table_whose_copy_does_not_fit_is_compacted(
    small: SmallDisk, cluster: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = nearly_full(cluster, small, LOGS)
    run_step("purge", {**asked, "purge_strategy": "delete"})
    refused = run_step("vacuum", {**asked, "vacuum": "full"}, check=True)
    assert table(refused).reclaim == "plain"
    assert "no room for the copy" in " ".join(refused.report.warnings)
    assert "vacuum: compact would be open" in " ".join(refused.report.warnings)
    foretold = run_step("vacuum", asked, check=True)
    assert (table(foretold).reclaim, foretold.changed) == ("compact", True)
    before = free(small)
    # As if the disk had been filled only after the plan was made.
    with monkeypatch.context() as roomy:
        roomy.setattr(closed, "for_copy", lambda *_: "")
        done = run_step("vacuum", asked)
    logs = table(done)
    assert next(c.action for c in done.report.plan.reclaim if c.table == "log") == "rewrite"
    assert (logs.reclaim, logs.rows_after, done.changed) == ("compact", YOUNG, True)
    assert "no room for the copy" in logs.reclaim_why
    assert (logs.bytes_after or 0) < 0.6 * (logs.bytes_after_delete or 0)
    assert free(small) > before + LEFT
    assert "vacuum: compact needs no copy" not in " ".join(done.report.warnings)
    planned = run_step("vacuum", {**asked, "vacuum": "compact"}, check=True)
    assert (table(planned).reclaim, planned.changed) == ("plain", False)
