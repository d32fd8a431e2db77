"""The domain errors, collected from the code."""

from __future__ import annotations

import importlib
from pathlib import Path

import firstboot
from firstboot.domain.errors import AuthorityError, FirstbootError, OperatorError, TokenError

_ELSEWHERE = (OperatorError, AuthorityError, TokenError)
"""Errors that reach only an operator, a deployment or a log."""


def leaves() -> list[type[FirstbootError]]:
    """Return the error classes that are raised: those of every package without subclasses."""
    package = Path(firstboot.__file__).parent
    for module in sorted(package.glob("*/errors.py")):
        importlib.import_module(f"firstboot.{module.parent.name}.errors")
    return _leaves(FirstbootError)


def for_devices() -> list[type[FirstbootError]]:
    """Return the errors that reach a device, sorted by status and code."""
    found = [error for error in leaves() if not issubclass(error, _ELSEWHERE)]
    return sorted(found, key=lambda error: (error.status, error.code))


def _leaves(kind: type[FirstbootError]) -> list[type[FirstbootError]]:
    below = [leaf for child in kind.__subclasses__() for leaf in _leaves(child)]
    return below or [kind]
