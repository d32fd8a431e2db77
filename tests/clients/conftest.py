"""Fixtures and grouping for the tests with third-party programs."""

from __future__ import annotations

import pytest

from tests.flows.conftest import cloud

__all__ = ["cloud"]  # a fixture


@pytest.hookimpl(tryfirst=True)  # before xdist reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that use the cloud to one worker (`--dist loadgroup`): they share it."""
    for item in items:
        if "cloud" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("cloud"))
