"""The check that the tests make the product raise every domain error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_run_that_misses_an_error_fails(workers: str) -> None:
    """Its tests pass, but the run fails and names the errors; what a worker raised counts."""
    run = ["pytest", "-q", "-n", workers, "-p", "tests.every_error", "tests/unit/test_names.py"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "functions")])
    done = subprocess.run(
        [sys.executable, "-m", *run],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("no test made the product raise")]
    assert "KeyInUse" in line
    assert "DeviceIdInvalid" not in line
