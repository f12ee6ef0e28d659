"""The contract against every supported Prefect and PostgreSQL: runs the oracle's tests anew."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from . import environments

TESTS = (
    "tests/integration/plan/test_oracle.py",
    "tests/integration/measure/test_catalogue.py",
    "tests/integration/server/test_deployments.py",
)
POSTGRES = ("14", "15", "16", "17", environments.POSTGRES)
PAIRS = tuple((prefect, postgres) for prefect in environments.VERSIONS for postgres in POSTGRES)
# The other tests run on the newest of both, and so do the other policies of the oracle.
BOUNDED = ((environments.VERSIONS[0], POSTGRES[0]),)
ONE_POLICY = ("-k", "not long and not short")


def main() -> int:
    """Run each pair, or the oldest alone; returns 1 when one of them failed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bounded", action="store_true", help="the oldest pair alone")
    options.add_argument("--tests", nargs="*", default=TESTS, help="other test files")
    asked = options.parse_args()
    outcomes = {}
    for prefect, postgres in BOUNDED if asked.bounded else PAIRS:
        pair = f"Prefect {prefect}, PostgreSQL {postgres}"
        print(f"== {pair}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            [
                Path(sys.executable).parent / "pytest",
                *asked.tests,
                *(ONE_POLICY if asked.bounded else ()),
            ],
            cwd=environments.ROOT,
            env={**os.environ, "LAB_PREFECT": prefect, "LAB_POSTGRES": postgres},
        )
        told = "passed" if done.returncode == 0 else "FAILED"
        outcomes[pair] = f"{told} in {time.monotonic() - began:.0f} s"
    print()
    for pair, outcome in outcomes.items():
        print(f"{pair}: {outcome}")
    return int(any("FAILED" in outcome for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
