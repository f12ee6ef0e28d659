"""Put the changes since the last release into the changelog, under the version of the next."""

from __future__ import annotations

import subprocess
import sys

from . import dist, environments


def main() -> int:
    """Move the fragments into CHANGELOG.rst; until the version is raised, into the same part."""
    program = environments.packaging() / "antsibull-changelog"
    release = [str(program), "release", "--version", dist.VERSION, "--update-existing"]
    return subprocess.run(release, cwd=environments.ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
