"""Starts the project's programs as a terminal would, also when tests run in the background of a script."""

from __future__ import annotations

import sys

_AS_IN_A_TERMINAL = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def interruptible(module: str, *arguments: str) -> list[str]:
    """Return the command for `python -m module`, with SIGINT at its default.

    A shell without job control starts background commands with SIGINT ignored (POSIX, Shell Command
    Language, section 2.11), a child inherits that, and Python then raises no KeyboardInterrupt.
    """
    return [sys.executable, "-c", _AS_IN_A_TERMINAL, module, *arguments]
