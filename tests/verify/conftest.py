"""Runs a cloud for these tests alone, because the walk takes a stack without devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows import conftest as flows
from tests.flows.conftest import Cloud
from tests.verify.walks import Walks, three

cloud = flows.cloud


@pytest.hookimpl(tryfirst=True)  # before xdist reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests to one worker (`--dist loadgroup`), because they share a cloud."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("verify"))


@pytest.fixture(scope="session")
def walks(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Walks:
    """Return a killed walk, an interrupted one and a whole one."""
    return three(cloud, tmp_path_factory.mktemp("walk"))
