"""What unit tests share: the filters of the fleet, which lie where Ansible looks for them."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from lab.environments import ROOT

FILTERS = "roles/prefect_maintenance/filter_plugins/prefect_maintenance_fleet.py"


@pytest.fixture(scope="session")
def fleet() -> ModuleType:
    path = ROOT / FILTERS
    spec = importlib.util.spec_from_file_location("fleet_filters", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
