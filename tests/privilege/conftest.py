"""Runs a cloud for these tests alone, without event sources. Otherwise another event could do the work of a
flow that lacks its right.

It is not the cloud of tests/flows. Silencing that one takes longer (27 s and more, measured) than starting
this one (16 s), because the emulator ends the many Lambda processes of the flows one after another.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows import conftest as flows
from tests.flows.conftest import Cloud
from tests.privilege.scene import Scene

cloud = flows.cloud


@pytest.hookimpl(tryfirst=True)  # before xdist reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests to one worker (`--dist loadgroup`), because they share a cloud."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("privilege"))


@pytest.fixture(scope="session")
def scene(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Return the running stack with its event sources and schedules disabled."""
    made = Scene(cloud, tmp_path_factory.mktemp("scene"))
    made.silence()
    return made
