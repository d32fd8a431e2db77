"""Runs the device in a process of its own that dies at a chosen point, as a power failure does."""

from __future__ import annotations

import http.client
import multiprocessing
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client

from device.__main__ import main

DIED = 137

# All that changes the disk or speaks to the service: each may be the last thing that happens.
_OPERATIONS: list[tuple[Any, str]] = [
    *((os, name) for name in ("mkdir", "chmod", "open", "fsync", "replace", "unlink")),
    (http.client.HTTPSConnection, "connect"),
    (http.client.HTTPConnection, "request"),
    (http.client.HTTPConnection, "getresponse"),
    (http.client.HTTPResponse, "read"),
    *((Client, name) for name in ("connect", "subscribe", "publish", "disconnect")),
]


class Fuse:
    """Ends the process at the `point`-th of the points before and after each operation that counts."""

    def __init__(self, point: int, only: Collection[str]) -> None:
        self._left = point
        self._only = only

    def lay(self) -> None:
        """Watch the operations of this process, for good."""
        watched = [(owner, name) for owner, name in _OPERATIONS if name in self._only or not self._only]
        for owner, name in watched:
            setattr(owner, name, self._watched(name, getattr(owner, name)))

    def _watched(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            if self._burnt():
                _die(arguments[0] if name == "fsync" else None)
            result = operation(*arguments, **options)
            if self._burnt():
                _die(None)
            return result

        return watched

    def _burnt(self) -> bool:
        self._left -= 1
        return self._left == 0


def _die(unsynced: int | None) -> None:
    """What was not synced may be half there."""
    if unsynced is not None and Path(f"/proc/self/fd/{unsynced}").resolve().is_file():
        os.ftruncate(unsynced, os.fstat(unsynced).st_size // 2)
    os._exit(DIED)


def _run(arguments: list[str], point: int, only: Collection[str]) -> None:
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    os.environ["SSL_CERT_FILE"] = os.devnull  # the system's roots cost more than all the rest
    Fuse(point, only).lay()
    sys.exit(main(arguments))


_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__, "pytest"])


def run(arguments: list[str], *, point: int = 0, only: Collection[str] = ()) -> int:
    """The exit code of `python -m device` with `arguments`; DIED if it got to `point` (from 1), of
    all or of the `only` operations that count.
    """
    process = _PROCESSES.Process(target=_run, args=(arguments, point, only))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode
