"""What a Lambda loads when it starts."""

from __future__ import annotations

import pytest

from tests.process.loaded import LAMBDAS, modules, packages


@pytest.mark.parametrize("name", LAMBDAS)
def test_a_lambda_loads_its_own_package_and_no_siblings(name: str) -> None:
    """The other Lambdas' packages cost its cold start nothing, and can't break it."""
    loaded = packages(modules(name))
    assert name in loaded
    assert not loaded.keys() & (set(LAMBDAS) - {name})


@pytest.mark.parametrize("name", ["exchange", "authority"])
def test_only_a_lambda_that_decides_loads_cedar(name: str) -> None:
    """A first-boot storm's cold starts do not pay for a rule engine that exchange never asks."""
    assert "cedarpy" not in modules(name)


@pytest.mark.parametrize("name", LAMBDAS)
@pytest.mark.parametrize("module", ["boto3", "aws_lambda_powertools.event_handler", "pydantic"])
def test_a_lambda_loads_nothing_heavy_that_it_does_not_use(name: str, module: str) -> None:
    """boto3 costs a cold start 40 ms on top of botocore, Powertools' resolver 130 ms, pydantic 180 ms."""
    assert module not in modules(name)
