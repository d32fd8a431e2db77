"""The plugin `tests.every_error` fails a run that misses a domain error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_run_that_misses_an_error_fails(workers: str) -> None:
    """A run whose tests pass fails and names the missing errors, counting those that a worker raised."""
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
