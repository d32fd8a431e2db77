"""What a Lambda loads when it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"


@pytest.mark.parametrize(("function", "loads_cedar"), [("exchange", False), ("vend", True), ("assign", True)])
def test_only_who_decides_loads_cedar(function: str, *, loads_cedar: bool) -> None:
    """A first-boot storm's cold starts don't pay for a rule engine that exchange never asks."""
    program = f"import sys, {function}; print('cedarpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=FUNCTIONS,
        env=os.environ | {"AWS_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(loads_cedar)
