"""The audit hook in conftest.py refuses what a pure test may not do."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.unit.conftest import GUARD, PROCESS_EVENTS, SOCKET_EVENTS, Impure, pytest_runtest_call

WHILE_IMPORTED = GUARD.forbidden


@pytest.fixture(scope="module")
def while_set_up() -> frozenset[str]:
    """Return the events that are forbidden while a module's fixture is set up."""
    return GUARD.forbidden


@pytest.mark.parametrize(
    ("act", "event"),
    [
        (lambda: subprocess.run([sys.executable, "--version"], check=True), "subprocess.Popen"),
        (lambda: os.system("true"), "os.system"),  # noqa: S605
        (os.fork, "os.fork"),
        (lambda: multiprocessing.get_context("fork").Process(target=int).start(), "os.fork"),
        (lambda: os.execv("/bin/true", ["true"]), "os.exec"),  # noqa: S606
        (lambda: os.posix_spawn("/bin/true", ["true"], {}), "os.posix_spawn"),
        (lambda: socket.create_connection(("127.0.0.1", 9)), "socket.getaddrinfo"),
        (socket.socket, "socket.__new__"),
    ],
)
def test_it_is_refused(act: Callable[[], object], event: str) -> None:
    """Each forbidden call raises Impure before it has an effect, and the guard keeps its event."""
    with pytest.raises(Impure, match=event):
        act()
    assert GUARD.refused == [event]
    GUARD.refused.clear()


def test_a_refusal_that_was_caught_fails_the_test() -> None:
    """A test fails when an operation was refused, even if the code under test caught the error."""
    called = pytest_runtest_call()
    next(called)
    with suppress(Impure):
        socket.socket()
    with pytest.raises(Impure, match=r"socket\.__new__"):
        called.send(None)
    GUARD.refused.clear()


def test_it_acts_on_imports_and_fixtures(while_set_up: frozenset[str]) -> None:
    """Processes are refused during imports, and processes and sockets in fixtures of every scope."""
    assert WHILE_IMPORTED == PROCESS_EVENTS
    assert while_set_up == GUARD.forbidden == PROCESS_EVENTS | SOCKET_EVENTS
