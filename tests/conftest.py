"""For every test."""

from __future__ import annotations


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A key or certificate made on the spot is no name: workers of one run must agree on names."""
    return argname if isinstance(val, str | bytes) and len(val) > 80 else None
