"""For every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.flows.conftest import Cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The cloud that tests/flows and tests/privilege share: to start one is to deploy the stack."""
    from tests.flows.conftest import running  # noqa: PLC0415 - boto3, which most tests are without

    with running(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A key or certificate made on the spot is no name: workers of one run must agree on names."""
    return argname if isinstance(val, str | bytes) and len(val) > 80 else None
