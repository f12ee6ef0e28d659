"""The flow that the deployment names; the engine lies beside this file.

Started as a program, with the deployment's name, it ends the runs that a killed worker left
Running. The worker's unit does that before each start of the worker.
"""

from __future__ import annotations

import os
import sys

import prefect_maintenance

# The engine's folder is a link. A run keeps to the version that it began with, also for what it
# imports later, while another is laid down.
prefect_maintenance.__path__ = [os.path.realpath(path) for path in prefect_maintenance.__path__]

from prefect_maintenance.errors import Busy, MaintenanceError  # noqa: E402
from prefect_maintenance.flow import maintenance, read_credentials  # noqa: E402
from prefect_maintenance.schedule import end_lost_runs  # noqa: E402

__all__ = ["maintenance"]

if __name__ == "__main__":
    try:
        for name in end_lost_runs(read_credentials(), sys.argv[1]):
            print(f"{name} was at work when its worker ended; it is Crashed now")
    except Busy as busy:
        print(f"no run was ended: {busy}")
    except MaintenanceError as error:
        sys.exit(str(error))
