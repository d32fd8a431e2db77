"""Where the third-party programs of these tests are."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_UNPACKED = Path(sys.executable).parent  # `make test-clients` puts its commands there
_PLACES = os.pathsep.join([str(_UNPACKED), os.environ["PATH"], "/usr/sbin"])


def program(*names: str) -> str:
    """Return the path of the first of `names` that this machine has; unpacked ones come first."""
    found = [path for name in names if (path := shutil.which(name, path=_PLACES))]
    assert found, f"{names[0]} is not installed: run `make test-clients`"
    return found[0]
