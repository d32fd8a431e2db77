"""Test the product with clients of other authors, as `make demo-clients` shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.demo import Scenario
from tests.clients.scenarios import SCENARIOS
from tests.flows.conftest import Cloud


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_client_gets_what_it_wants(cloud: Cloud, tmp_path: Path, scenario: Scenario) -> None:
    """Each client gets from nothing to an identity or credentials that work as they should."""
    assert scenario.missing == []
    assert scenario.run(cloud, tmp_path)
