"""Tests in this folder are pure: an audit hook refuses them processes and sockets.

Python reports both as audit events (PEP 578), for every library. A hook cannot be removed, so it acts only
while these tests are collected, set up and run. It also keeps the refused events, because the code under test
may catch the error.
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
    """A pure test started a process or opened a socket."""


class Guard:
    """The audit hook, which refuses the events in `forbidden` and keeps their names in `refused`."""

    def __init__(self) -> None:
        self.forbidden: frozenset[str] = frozenset()
        self.refused: list[str] = []

    def __call__(self, event: str, _arguments: tuple[Any, ...]) -> None:
        """Refuse the event if it is forbidden. Raises Impure."""
        if event in self.forbidden:
            self.refused.append(event)
            raise Impure(f"{event}: tests in tests/unit are pure, see docs/testing.md")


GUARD = Guard()
sys.addaudithook(GUARD)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, object, object]:
    """Refuse processes, but no sockets, while a module is imported: urllib3 then opens one to detect IPv6."""
    GUARD.forbidden = PROCESS_EVENTS
    try:
        return (yield)
    finally:
        GUARD.forbidden = frozenset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Refuse processes and sockets while fixtures are set up."""
    GUARD.refused.clear()
    GUARD.forbidden = PROCESS_EVENTS | SOCKET_EVENTS
    try:
        return (yield)
    finally:
        GUARD.forbidden = frozenset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Refuse processes and sockets to the test, and fail it if the test or a fixture had any refused."""
    GUARD.forbidden = PROCESS_EVENTS | SOCKET_EVENTS
    try:
        result = yield
    finally:
        GUARD.forbidden = frozenset()
    if GUARD.refused:
        raise Impure(f"this test is not pure: {sorted(set(GUARD.refused))}")
    return result
