"""The playbooks as a user runs them: three runs, secrets, failures, a stop in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import sqlalchemy as sa
from maintenance import engine_for
from sites import Site, module_at_work, recap
from world import dump

from lab.postgres import PASSWORD, Postgres, free_port


def test_check_then_real_then_nothing_left_from_any_folder(site: Site) -> None:
    engine = engine_for(site.server.db_url)
    before = dump(engine, ["log", "flow_run", "artifact"])
    metrics = site.folder / "collector" / "prefect_maintenance.prom"
    metrics.parent.mkdir()
    site.variables = {"prefect_maintenance_textfile_dir": str(metrics.parent)}
    checked = site.play("maintain", "--check")
    assert checked.returncode == 0, checked.stdout
    assert "check only, nothing was changed" in checked.stdout
    assert dump(engine, ["log", "flow_run", "artifact"]) == before
    foretold = site.report()
    assert foretold["check_mode"] is True
    assert not metrics.exists()

    done = site.play("maintain")
    assert done.returncode == 0, done.stdout
    assert recap(done.stdout)["changed"] > 0
    report = site.report()
    assert report["deleted"] == foretold["deleted"]
    assert report["schema"] == 1
    assert report["status"] == "ok"
    assert report["server"]["version"] == site.server.version
    assert {"dialect", "version", "bytes_before", "bytes_after"} <= set(report["database"])
    assert {"what", "rows", "why", "reason"} == set(report["kept"][0])
    log = next(table for table in report["tables"] if table["name"] == "log")
    assert log["rows_before"] - report["deleted"]["log"] == log["rows_after"]
    gone = 'prefect_maintenance_last_run_deleted_rows{host="demo",table="log"} '
    assert f"{gone}{report['deleted']['log']}\n" in metrics.read_text()

    again = site.play("maintain")
    assert again.returncode == 0, again.stdout
    assert recap(again.stdout)["changed"] == 0
    assert f"{gone}0\n" in metrics.read_text()


def test_the_read_only_report_shows_sizes_bloat_age_and_growth(site: Site) -> None:
    before = dump(engine_for(site.server.db_url))
    rule = {"flows": ["oracel"], "keep": {"days": 3}}
    shown = site.play("report", "-e", json.dumps({"prefect_maintenance_rules": [rule]}))
    assert shown.returncode == 0, shown.stdout
    assert recap(shown.stdout)["changed"] == 0
    for part in ("bloat", "oldest row", "what makes the rows", "oracle", "rows a day", "settles"):
        assert part in shown.stdout
    assert "how much of its disk is free" not in shown.stdout
    report = site.report("demo-report.json")
    assert report["verdict"]["lines"][0] in shown.stdout
    assert report["forecast"]["makers"]["flows"] == report["growth"]
    assert report["growth"][0]["flow"] == "oracle"
    assert {one["exact"] for one in report["what_if"]} == {False}
    assert next(one for one in report["what_if"] if one["table"] == "log")["rows"] > 0
    assert "what would go with this policy, estimated" in shown.stdout
    told = "rules: rule 1 matches no flow run: flows has 'oracel', which fits no flow"
    assert told in report["warnings"]
    assert dump(engine_for(site.server.db_url)) == before


def test_no_secret_appears_at_the_highest_verbosity_or_in_the_report(site: Site) -> None:
    site.variables = {
        "prefect_maintenance_api_auth_string": "admin:s3cr3t-auth",
        "prefect_maintenance_api_headers": {"X-Token": "t0ken-header"},
    }
    for options in (("-vvvv",), ("-vvvv", "--check", "--diff")):
        done = site.play("maintain", *options)
        written = done.stdout + done.stderr + (site.reports / "demo.json").read_text()
        assert done.returncode == 0, done.stdout
        assert PASSWORD not in written
        # The two credentials stand in -e on this command line, so only what the tasks say counts.
        told = written.split("PLAY [", 1)[1]
        assert "s3cr3t-auth" not in told
        assert "t0ken-header" not in told


def test_a_failing_step_fails_the_play_names_itself_and_leaves_a_report(site: Site) -> None:
    before = dump(engine_for(site.server.db_url))
    site.variables = {"prefect_maintenance_api_url": f"http://127.0.0.1:{free_port()}/api"}
    done = site.play("maintain")
    assert done.returncode != 0
    assert "cannot reach the Prefect API" in done.stdout
    report = site.report()
    assert report["status"] == "failed"
    assert report["host"] == "demo"
    assert "cannot reach" in report["errors"][0]
    assert dump(engine_for(site.server.db_url)) == before


def test_sigterm_stops_at_the_batch_and_the_report_says_how_far(
    site: Site, cluster: Postgres
) -> None:
    engine = engine_for(site.server.db_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO log (id, name, level, message, timestamp) "
                "SELECT gen_random_uuid(), 'l', 20, 'm', now() - interval '90 days' "
                "- n * interval '1 second' FROM generate_series(1, 30000) n"
            )
        )
    site.variables = {
        "prefect_maintenance_batch_size": 10,
        "prefect_maintenance_purge_strategy": "delete",
    }
    running = subprocess.Popen(
        site.command("maintain"),
        env=site.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    backend = "SELECT application_name FROM pg_stat_activity WHERE query LIKE 'DELETE FROM log%'"
    os.kill(module_at_work(cluster, running, backend), signal.SIGTERM)
    output = running.communicate(timeout=60)[0]
    assert running.returncode != 0
    assert "stopped by SIGTERM" in output
    report = site.report()
    assert report["status"] == "partial"
    with engine.connect() as connection:
        left = connection.execute(
            sa.text("SELECT count(*) FROM log WHERE name = 'l' AND flow_run_id IS NULL")
        ).scalar_one()
    assert 0 < left < 30200
    assert report["deleted"]["log"] > 0

    site.variables = {}
    assert site.play("maintain").returncode == 0


def test_a_check_needs_no_environment_and_leaves_none_behind(site: Site) -> None:
    home = site.folder / "home"
    site.variables = {
        "prefect_maintenance_python": "",
        "prefect_maintenance_home": str(home),
        "prefect_maintenance_base_python": sys.executable,
    }
    done = site.play("maintain", "--check")
    assert done.returncode == 0, done.stdout
    assert not home.exists()

    assert site.play("maintain").returncode == 0
    assert (home / "venv" / "bin" / "python").exists()
    again = site.play("maintain")
    assert recap(again.stdout)["changed"] == 0
