"""Rows are archived before they go, and come back from there as they were."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from maintenance import fill, request, run_step
from world import dump


def test_smoke(engine: sa.Engine, tmp_path: Path) -> None:
    fill(engine, seed=11)
    before = dump(engine)
    asked = request(engine, archive_dir=str(tmp_path), run_delete_via="sql")
    one = run_step("purge", asked)
    two = run_step("delete", {**asked, "report": one.report.as_json()})
    print(two.report.archive)
    import subprocess

    print(
        subprocess.run(
            f"find {tmp_path}; cat {tmp_path}/*/*/manifest.json",
            shell=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    print(two.report.deleted)
    after = dump(engine)
    print({t: len(before[t]) - len(after[t]) for t in before})
    assert 0
