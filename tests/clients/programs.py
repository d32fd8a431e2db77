"""Find the third-party programs of these tests."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_UNPACKED = Path(sys.executable).parent  # `make test-clients` puts its commands there
PLACES = os.pathsep.join([str(_UNPACKED), os.environ["PATH"], "/usr/sbin"])
"""The folders with programs, as in PATH."""


def program(name: str) -> str:
    """Return the path of a program: the unpacked one, or else the installed one."""
    found = shutil.which(name, path=PLACES)
    assert found, f"{name} is not installed: run `make test-clients`"
    return found


def aws_client(name: str) -> str:
    """Return the path of a program of AWS's clients, which have an environment of their own."""
    found = _UNPACKED.parent / "aws-clients" / "bin" / name
    assert found.exists(), f"{found} does not exist: run `make test-clients`"
    return str(found)


def units() -> Path:
    """Return the folder with systemd's own units: the unpacked one, or else the machine's."""
    unpacked = _UNPACKED.parent / "systemd/root/lib/systemd/system"
    return unpacked if unpacked.exists() else Path("/lib/systemd/system")
