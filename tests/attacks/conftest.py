"""Provides what attacks run against: the product over moto, and a running cloud of their own.

They do not share the cloud of tests/flows, because an attack freezes groups and publishes fleets.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aws import conftest as aws_fixtures
from tests.flows import conftest as flows

aws = aws_fixtures.aws
table = aws_fixtures.table
bucket = aws_fixtures.bucket
ca_key = aws_fixtures.ca_key
issuing_ca = aws_fixtures.issuing_ca
product_of = aws_fixtures.product_of
product = aws_fixtures.product
logs = aws_fixtures.logs
run = aws_fixtures.run
calls = aws_fixtures.calls
registering = aws_fixtures.registering
cloud = flows.cloud


@pytest.hookimpl(tryfirst=True)  # before xdist reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that need a running cloud to one worker (`--dist loadgroup`), because they share it."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "cloud" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("attacks"))
