"""The evaluators of policies, one of each for a whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.isolation.broker import Broker, running
from tests.isolation.evaluators import Evaluator, IamSimulate, Ministack


@pytest.fixture(scope="session")
def evaluators() -> Iterator[tuple[Evaluator, Evaluator]]:
    """Yield the emulator's evaluator and iam-simulate."""
    simulate = IamSimulate()
    try:
        yield Ministack(), simulate
    finally:
        simulate.close()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Yield an MQTT broker in an account of its own."""
    with running(tmp_path_factory.mktemp("broker")) as broker:
        yield broker
