"""The flow that the deployment names; the engine lies beside this file."""

from __future__ import annotations

from prefect_maintenance.flow import maintenance

__all__ = ["maintenance"]
