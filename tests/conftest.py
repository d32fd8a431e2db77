"""Settings for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# There is no deadline for an example, because its duration depends on the machine's load.
settings.register_profile("firstboot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("firstboot")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Return the argument's name for a long value: keys differ between workers, which must agree on ids."""
    return argname if isinstance(val, str | bytes) and len(val) > 80 else None
