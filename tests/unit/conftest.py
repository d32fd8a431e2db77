"""Pure tests only: an audit hook fails each that starts a process, forks, or uses a socket.

Python reports these through audit events (PEP 578), whichever library asks for them. The hook cannot be
removed, so it acts only while a test of this folder is collected or runs. A violation is also counted,
because code under test may catch the error that the hook raises.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_FORBIDDEN = {
    *("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"),
    *("pty.spawn", "socket.__new__", "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"),
    *("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"),
}
_FOLDER = Path(__file__).parent


class Impure(RuntimeError):
    """A pure test asked the operating system for a process or a socket."""


class _Guard:
    def __init__(self) -> None:
        self.acts = False
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.acts and event in _FORBIDDEN:
            self.seen.append(event)
            raise Impure(f"{event}{arguments!r}: tests in tests/unit are pure, see docs/testing.md")


_guard = _Guard()
sys.addaudithook(_guard)


@pytest.fixture(autouse=True)
def pure() -> Iterator[None]:
    """Fail the test if it, or a fixture it asked for, is not pure."""
    _guard.seen.clear()
    _guard.acts = True
    try:
        yield
    finally:
        _guard.acts = False
    assert not _guard.seen, f"this test is not pure: {sorted(set(_guard.seen))}"
