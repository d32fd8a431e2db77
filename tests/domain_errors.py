"""Every domain error there is."""

from __future__ import annotations

import importlib
from pathlib import Path

from firstboot.domain.errors import FirstbootError

_PACKAGE = Path(__file__).parents[1] / "functions" / "firstboot"


def leaves() -> list[type[FirstbootError]]:
    """Return the error classes that are raised: those without subclasses, of every package."""
    for module in sorted(_PACKAGE.glob("*/errors.py")):
        importlib.import_module(f"firstboot.{module.parent.name}.errors")
    return _leaves(FirstbootError)


def _leaves(kind: type[FirstbootError]) -> list[type[FirstbootError]]:
    below = [leaf for child in kind.__subclasses__() for leaf in _leaves(child)]
    return below or [kind]
