"""The flow that the deployment names; the engine lies beside this file.

Started as a program, with the deployment's name, it ends the runs that a killed worker left
Running. The worker's unit does that before each start of the worker.
"""

from __future__ import annotations

import sys

from prefect_maintenance.errors import Busy, MaintenanceError
from prefect_maintenance.flow import maintenance, read_credentials
from prefect_maintenance.schedule import end_lost_runs

__all__ = ["maintenance"]

if __name__ == "__main__":
    try:
        for name in end_lost_runs(read_credentials(), sys.argv[1]):
            print(f"{name} was at work when its worker ended; it is Crashed now")
    except Busy as busy:
        print(f"no run was ended: {busy}")
    except MaintenanceError as error:
        sys.exit(str(error))
