"""Run the device so that it dies at a chosen point, as in a power failure.

A death in this process takes a tenth of the time of a process that is killed: `Died` unwinds the run, and
from then on no operation that counts has an effect, so no cleanup can leave what a power failure would not
leave. At every `KILLED_EVERY`-th point a process is really killed.
"""

from __future__ import annotations

import http.client
import math
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from paho.mqtt.client import Client

from device.__main__ import main

DIED = 137
KILLED_EVERY = 10

# Every operation that changes the disk or calls the service.
_OPERATIONS: list[tuple[Any, str]] = [
    *((os, name) for name in ("mkdir", "chmod", "open", "fsync", "replace", "unlink", "rmdir")),
    (http.client.HTTPSConnection, "connect"),
    (http.client.HTTPConnection, "request"),
    (http.client.HTTPConnection, "getresponse"),
    (http.client.HTTPResponse, "read"),
    *((Client, name) for name in ("connect", "subscribe", "publish", "disconnect")),
]


class Died(BaseException):
    """The device has died. The device's code does not catch this exception."""


class Fuse:
    """The point at which this thread's work ends. Points are before and after each operation that counts:
    every operation, or only those in `only`. Point 0 is never reached.

    With `kills` the process ends there; otherwise `Died` is raised there and by every later operation.
    """

    def __init__(self, point: int, only: Collection[str] = (), *, kills: bool = False) -> None:
        self._left: float = point or math.inf
        self._only = only
        self._kills = kills
        self._thread = threading.get_ident()

    @contextmanager
    def laid(self) -> Iterator[None]:
        """Watch the operations."""
        with ExitStack() as stack:
            for owner, name in _OPERATIONS:
                if name in self._only or not self._only:
                    watched = self._watched(name, getattr(owner, name))
                    stack.enter_context(mock.patch.object(owner, name, watched))
            yield

    def _watched(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            if threading.get_ident() != self._thread:  # a server's, or the test runner's
                return operation(*arguments, **options)
            self._pass(arguments[0] if name == "fsync" else None)
            result = operation(*arguments, **options)
            self._pass(None)
            return result

        return watched

    def _pass(self, unsynced: int | None) -> None:
        """Pass a point, or die there. The file `unsynced` may then be half on the disk."""
        self._left -= 1
        if self._left > 0:
            return
        if self._left == 0 and unsynced is not None and _is_file(unsynced):
            os.ftruncate(unsynced, os.fstat(unsynced).st_size // 2)
        if self._kills:
            os._exit(DIED)
        raise Died


def _is_file(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").resolve().is_file()


def run(arguments: list[str], *, point: int = 0, only: Collection[str] = (), kills: bool = False) -> int:
    """Return the exit code of `python -m device` with `arguments`; DIED if the run reached `point`.

    Points count from 1, over every operation or only those in `only`. With `kills` each death is a process's.
    """
    if point and (kills or point % KILLED_EVERY == 1):
        return _run_killed(arguments, point, only)
    return _run_here(arguments, point, only)


def _run_here(arguments: list[str], point: int, only: Collection[str]) -> int:
    # Loading the system's roots would take most of the time, and a real sync would show nothing.
    roots, syncs = mock.patch.dict(os.environ, SSL_CERT_FILE=os.devnull), mock.patch.object(os, "fsync", _no)
    try:
        with roots, syncs, Fuse(point, only).laid():
            return main(arguments)
    except Died:
        return DIED


def _no(_descriptor: int) -> None:
    """Sync nothing. The fuse damages the files that a death leaves unsynced."""


def _run_killed(arguments: list[str], point: int, only: Collection[str]) -> int:
    process = _PROCESSES.Process(target=_run_alone, args=(arguments, point, only))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run_alone(arguments: list[str], point: int, only: Collection[str]) -> None:
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    os.environ["SSL_CERT_FILE"] = os.devnull
    with Fuse(point, only, kills=True).laid():
        sys.exit(main(arguments))


_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__, "pytest"])
