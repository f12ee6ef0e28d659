"""The contract against every supported Prefect and PostgreSQL: runs the oracle's tests anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import environments

TESTS = (
    "tests/integration/test_oracle.py",
    "tests/integration/test_catalogue.py",
    "tests/integration/test_deployments.py",
)
POSTGRES = ("15", "18")


def main() -> int:
    """Run each pair; returns 1 when one of them failed."""
    outcomes = {}
    for prefect in environments.VERSIONS:
        for postgres in POSTGRES:
            pair = f"Prefect {prefect}, PostgreSQL {postgres}"
            print(f"== {pair}", flush=True)
            done = subprocess.run(
                [Path(sys.executable).parent / "pytest", *TESTS],
                cwd=environments.ROOT,
                env={**os.environ, "LAB_PREFECT": prefect, "LAB_POSTGRES": postgres},
            )
            outcomes[pair] = done.returncode
    print()
    for pair, code in outcomes.items():
        print(f"{pair}: {'passed' if code == 0 else 'FAILED'}")
    return int(any(outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
