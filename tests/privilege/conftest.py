"""A quiet cloud of its own: what moves by itself would do the work of a flow that lacks its right.

It is not the flows' cloud. To make that one quiet takes longer (27 s and more, measured) than to start this
one (16 s): the emulator ends, one after another, the many Lambda processes that the flows left.
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
    """Give all of this to one worker (`--dist loadgroup`): it shares a cloud."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("privilege"))


@pytest.fixture(scope="session")
def scene(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The running stack, with nothing in it that moves by itself."""
    made = Scene(cloud, tmp_path_factory.mktemp("scene"))
    made.silence()
    return made
