"""Fails the run unless its tests made the product raise each domain error. `make test` loads this plugin.

An error counts when code under functions/ makes an instance of its class. A test that makes one itself, or
that only names its code, does not count.
"""

from __future__ import annotations

import functools
import sys
from types import FrameType
from typing import Any

import pytest

# The functions here import the product, because coverage watches imports only after this module is loaded.

_PRODUCT = "/functions/firstboot/"
RAISED: set[str] = set()
"""The names of the error classes that the product raised in this process and in workers that have ended."""


def pytest_configure() -> None:
    """Watch the one constructor that all domain errors call."""
    from firstboot.domain.errors import FirstbootError  # noqa: PLC0415 - see above

    construct = FirstbootError.__init__

    @functools.wraps(construct)
    def watched(error: FirstbootError, *arguments: Any, **options: Any) -> None:
        if _is_products(sys._getframe(1)):
            RAISED.add(type(error).__name__)
        construct(error, *arguments, **options)

    FirstbootError.__init__ = watched  # type: ignore[method-assign, assignment]


def _is_products(frame: FrameType | None) -> bool:
    """Return whether the first frame that is no constructor is in the product's code."""
    while frame and frame.f_code.co_name == "__init__":
        frame = frame.f_back
    return frame is not None and _PRODUCT in frame.f_code.co_filename


def missing() -> list[str]:
    """Return the names of the errors that no test made the product raise."""
    from docs.errors import leaves  # noqa: PLC0415 - see above

    return sorted({error.__name__ for error in leaves()} - RAISED)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send a worker's errors to the run, and fail the run if an error is missing."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["raised"] = sorted(RAISED)
    elif session.exitstatus == pytest.ExitCode.OK and missing():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the errors of a worker that has ended."""
    RAISED.update(getattr(node, "workeroutput", {}).get("raised", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the missing errors."""
    if not hasattr(terminalreporter.config, "workeroutput") and missing():
        terminalreporter.write_line(f"no test made the product raise: {', '.join(missing())}", red=True)
