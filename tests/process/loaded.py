"""Finds the modules that a Lambda file loads when it starts. `python -m tests.process.loaded` prints them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FUNCTIONS = Path(__file__).parents[2] / "functions"
LAMBDAS = sorted(file.stem for file in FUNCTIONS.glob("*.py"))

_PROGRAM = "import sys, {name}; print(*sys.modules)"


def modules(name: str) -> set[str]:
    """Return the modules that a fresh process has after it imported a Lambda file."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(name=name)],
        cwd=FUNCTIONS,
        env=os.environ | {"AWS_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def packages(loaded: set[str]) -> dict[str, int]:
    """Return the number of loaded modules in each package of `firstboot`."""
    found: dict[str, int] = {}
    for module in loaded:
        parts = module.split(".")
        if parts[0] == "firstboot" and len(parts) > 2:
            found[parts[1]] = found.get(parts[1], 0) + 1
    return found


if __name__ == "__main__":
    for name in LAMBDAS:
        counted = sorted(packages(modules(name)).items())
        own = [f"{package} ({count})" for package, count in counted if package == name]
        shared = [f"{package} ({count})" for package, count in counted if package != name]
        sys.stdout.write(f"{name:10} its own: {', '.join(own)}; shared: {', '.join(shared)}\n")
