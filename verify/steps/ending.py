"""Steps that end a device: revocation and deletion."""

from __future__ import annotations

import time
from collections.abc import Callable

from console.cloud import Refused as ConsoleRefused
from device.refusal import Action, Refused
from verify.bench import Bench, once
from verify.spending import Act
from verify.step import Failed, Measurement, Measurements, Need, Step

_HTTPS = frozenset({Need.FACTORY, Need.HTTPS})
SECONDS = 600
"""How long a step waits for what happens in the background."""

_EVERY = 1.0


def seconds_until(condition: Callable[[], bool], what: str) -> float:
    """Wait until a condition holds, and return how many seconds that took. Raises Failed after SECONDS."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > SECONDS:
            raise Failed(what, f"nothing of it within {SECONDS} s")
        time.sleep(_EVERY)
    return time.monotonic() - begun


def revocation(bench: Bench) -> Measurements:
    """Revoke a device. Its next call and its next enrollment are refused."""
    unit = once(bench.unit())
    unit.boot()
    bench.operate.call("devices.revoke", deviceId=unit.name)
    for what, call in {
        "the next call": lambda: unit.service.device(unit.live),
        "the next boot": unit.boot,
    }.items():
        try:
            call()
        except Refused as refused:
            yield Measurement(what, f"{refused.code}, {refused.action}")
            if refused.action is not Action.STOP:
                raise Failed(
                    f"{what} of a revoked device to be refused for good", refused.action
                ) from refused
        else:
            raise Failed(f"{what} of a revoked device to be refused", "an answer")


def deletion(bench: Bench) -> Measurements:
    """Delete a device. AWS IoT then has no trace of it, and its id is free for a new first boot."""
    unit = once(bench.unit())
    unit.boot()
    bench.operate.call("devices.delete", deviceId=unit.name)
    taken = seconds_until(lambda: _is_gone(bench, unit.name), f"the record of {unit.name} to disappear")
    yield Measurement("until AWS IoT has no trace of the device", taken, "s")
    answer = bench.unit_of(unit.name, unit.bootstrap).boot()
    yield Measurement("a new first boot under the free id", str(answer.get("status")))


def _is_gone(bench: Bench, name: str) -> bool:
    try:
        bench.operate.call("devices.show", deviceId=name)
    except ConsoleRefused as refused:
        return refused.problem.get("code") == "device-not-found"
    return False


STEPS = (
    Step("revocation", revocation, _HTTPS, spends={Act.BOOT: 1, Act.CALL: 3, Act.OPERATE: 1}),
    Step("deletion", deletion, _HTTPS, spends={Act.BOOT: 2, Act.OPERATE: 30}),
)
