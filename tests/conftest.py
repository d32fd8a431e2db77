"""Settings for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

# There is no deadline for an example, because its duration depends on the machine's load.
settings.register_profile("firstboot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For mutation testing, which runs a test thousands of times and only asks whether it fails.
settings.register_profile(
    "mutation",
    deadline=None,
    suppress_health_check=list(HealthCheck),
    max_examples=10,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("firstboot")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Return the argument's name for a long value: keys differ between workers, which must agree on ids."""
    return argname if isinstance(val, str | bytes) and len(val) > 80 else None
