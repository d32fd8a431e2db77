"""The flows' cloud, made quiet: what moved by itself there would do the work of a flow without its right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import GROUP, Cloud
from tests.privilege.scene import Scene


@pytest.hookimpl(tryfirst=True)  # before xdist reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all of this to the worker that has the cloud (`--dist loadgroup`)."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(GROUP))


@pytest.fixture(scope="package")
def scene(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The running stack, with nothing in it that moves by itself."""
    made = Scene(cloud, tmp_path_factory.mktemp("scene"))
    with made.silenced():
        yield made
