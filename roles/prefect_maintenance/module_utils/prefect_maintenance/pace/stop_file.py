"""Nothing begins or goes on while a file is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .governors import Answer, Moment, Stop


@dataclass(frozen=True)
class StopFile:
    """Ends a step while the file exists."""

    path: Path

    def __call__(self, moment: Moment) -> Answer:
        """Answer for this moment."""
        if not self.path.exists():
            return None
        return Stop(
            f"stopped by the file {self.path} while at {moment.at}; remove it "
            "(playbooks/stop.yml -e prefect_maintenance_stop=false) and run again",
            "ansible-playbook playbooks/stop.yml -e prefect_maintenance_stop=false",
        )
