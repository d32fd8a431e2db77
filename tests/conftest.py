"""For every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("anywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("anywhere")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A key or certificate made on the spot is no name: workers of one run must agree on names."""
    return argname if isinstance(val, str | bytes) and len(val) > 80 else None
