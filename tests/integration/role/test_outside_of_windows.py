"""A play outside of its windows: nothing is deleted, nothing fails, and it says when one opens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from maintenance import engine_for
from sites import Site, recap
from world import TABLES, dump


def test_a_play_outside_of_its_windows_deletes_nothing_and_says_when_one_opens(
    site: Site,
) -> None:
    opens = datetime.now(UTC) + timedelta(hours=12)
    site.variables = {
        "prefect_maintenance_windows": [{"cron": f"0 {opens:%H} * * *", "duration": "1h"}]
    }
    engine = engine_for(site.server.db_url)
    before = dump(engine, TABLES)
    done = site.play("maintain")
    assert done.returncode == 0, done.stdout
    assert dump(engine, TABLES) == before
    engine.dispose()
    assert recap(done.stdout)["failed"] == 0
    shown = f"{opens:%Y-%m-%d %H}:00"
    assert f"goes on in the next window, which opens {shown} UTC" in done.stdout
    report, fleet = site.report(), site.fleet()
    assert (report["status"], report["goes_on"]) == ("partial", shown.replace(" ", "T") + "+00:00")
    assert sum(report["deleted"].values()) == 0
    assert len([one for one in report["warnings"] if "goes on in the next window" in one]) == 3
    assert (fleet["status"], fleet["servers"]["partial"]) == ("ok", 1)
    assert (site.reports / "fleet.retry").read_text() == ""
    assert "goes on in the next window" in (site.reports / "demo.html").read_text()
