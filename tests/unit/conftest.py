"""Pure tests only: an audit hook refuses processes and sockets to the tests of this folder.

Python reports both as audit events (PEP 578), whichever library asks for them. A hook cannot be removed
again, so it acts only while these tests are collected, set up and run. It also keeps what it refused,
because the code under test may catch the error.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest

PROCESS_EVENTS = frozenset(
    {
        *("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"),
        "pty.spawn",
    }
)
SOCKET_EVENTS = frozenset(
    {
        *("socket.__new__", "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"),
        *("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"),
    }
)


class Impure(RuntimeError):
    """A pure test asked the operating system for a process or a socket."""


class Guard:
    """The audit hook: refuses the events in `forbidden` and keeps their names in `refused`."""

    def __init__(self) -> None:
        self.forbidden: frozenset[str] = frozenset()
        self.refused: list[str] = []

    def __call__(self, event: str, _arguments: tuple[Any, ...]) -> None:
        """Look at one event. Raises Impure."""
        if event in self.forbidden:
            self.refused.append(event)
            raise Impure(f"{event}: tests in tests/unit are pure, see docs/testing.md")


GUARD = Guard()
sys.addaudithook(GUARD)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, object, object]:
    """Refuse processes while a module is imported; urllib3 probes for IPv6 with a socket then."""
    GUARD.forbidden = PROCESS_EVENTS
    try:
        return (yield)
    finally:
        GUARD.forbidden = frozenset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Refuse both to fixtures."""
    GUARD.refused.clear()
    GUARD.forbidden = PROCESS_EVENTS | SOCKET_EVENTS
    try:
        return (yield)
    finally:
        GUARD.forbidden = frozenset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Refuse both to the test, and fail it if they were refused to it or to a fixture of it."""
    GUARD.forbidden = PROCESS_EVENTS | SOCKET_EVENTS
    try:
        result = yield
    finally:
        GUARD.forbidden = frozenset()
    if GUARD.refused:
        raise Impure(f"this test is not pure: {sorted(set(GUARD.refused))}")
    return result
