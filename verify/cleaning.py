"""Find the devices that are in a stack, and remove those of walks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

from botocore.exceptions import BotoCoreError, ClientError

from console.cloud import Operate, Refused, Unreachable
from verify.bench import OURS, Bench
from verify.walk import described

SECONDS = 600
"""How long the walk waits until AWS IoT has no trace of its devices any more, which then frees their ids."""

_EVERY = 2.0
_TRIES = 5
_ERRORS = (Refused, Unreachable, BotoCoreError, ClientError, OSError)


def others(operate: Operate, most: int = 10) -> list[str]:
    """Return the ids of devices that are no walk's, `most` of them. Raises Refused, Unreachable."""
    return list(islice((name for name in _names(operate) if not OURS.fullmatch(name)), most))


def ours(operate: Operate) -> list[str]:
    """Return the ids of devices of walks, also of earlier ones. Raises Refused, Unreachable."""
    return [name for name in _names(operate) if OURS.fullmatch(name)]


def _names(operate: Operate) -> Iterator[str]:
    return (str(device["deviceId"]) for device in operate.devices())


def remove(
    operate: Operate,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Delete the devices of all walks, wait until they are gone, and return what could not be removed.

    A call that fails is repeated, because a walk that gives up leaves devices behind.
    """
    stuck, asked, errors, end = dict[str, str](), set[str](), 0, clock() + SECONDS
    while True:
        try:
            waiting = [name for name in ours(operate) if name not in stuck]
            for name in waiting:
                if name not in asked and (why := _refusal(operate, name)):
                    stuck[name] = why
                asked.add(name)
            errors = 0
        except _ERRORS as error:
            errors += 1
            if errors == _TRIES:
                return [f"the devices of the walk: {described(error)}"]
        else:
            if clock() > end:
                stuck = dict.fromkeys(waiting, "it is still being deleted") | stuck
                waiting = []
            if not waiting:
                return [f"device {name}: {why}" for name, why in stuck.items()]
        pause(_EVERY)


def _refusal(operate: Operate, name: str) -> str:
    """Delete a device, and return why that is refused for good, or nothing.

    Raises Refused if a repetition may help, and Unreachable.
    """
    try:
        operate.call("devices.delete", deviceId=name)
    except Refused as refused:
        if refused.problem.get("action") == "retry":
            raise
        if refused.problem.get("code") != "device-not-found":
            return described(refused)
    return ""


def remove_all(bench: Bench) -> list[str]:
    """Remove what the walk has made, its devices first, and return what could not be removed."""
    left = remove(bench.operate)
    while bench.at_end:
        what, removal = bench.at_end.pop()
        try:
            removal()
        except (*_ERRORS, LookupError, ValueError) as error:
            left.append(f"{what}: {described(error)}")
    return left
