"""Steps of an operator who revokes or deletes a device that is connected."""

from __future__ import annotations

import time
from functools import partial

from verify import mqtt
from verify.bench import Bench
from verify.broker import ACCEPTED
from verify.spending import Act
from verify.step import Failed, Measurement, Measurements, Need, Step

_SECONDS = 300.0
"""AWS IoT's rules may take minutes to take effect."""


def ended(operation: str, bench: Bench) -> Measurements:
    """Revoke or delete a connected device: its connection ends, and it can't connect again."""
    unit, broker = mqtt.connected(bench), mqtt.broker(bench)
    with broker.connected(mqtt.login(unit)) as connection:
        if not connection.is_accepted:
            raise Failed("a connection", connection.outcome)
        begun = time.monotonic()
        bench.operate.call(operation, deviceId=unit.name)
        yield Measurement("the operator's call", time.monotonic() - begun, "s")
        if (end := connection.ended(_SECONDS)) is None:
            raise Failed("the connection to end", f"an open connection after {_SECONDS:.0f} s")
    yield Measurement("time from the call to the end of the connection", end[1] - begun, "s")
    yield Measurement("the broker's reason", end[0])
    again = mqtt.shut_out(bench, mqtt.login(unit))
    yield Measurement("connections that were accepted after that", again.outcomes.count(ACCEPTED))
    yield Measurement("the broker's answer to the next one", again.outcomes[-1])


_NEEDS = frozenset({Need.FACTORY, Need.BROKER})
_SPENDS = {Act.BOOT: 1, Act.OPERATE: 1, Act.CONNECTION: 60}

STEPS = (
    Step("revocation of a connected device", partial(ended, "devices.revoke"), _NEEDS, spends=_SPENDS),
    Step("deletion of a connected device", partial(ended, "devices.delete"), _NEEDS, spends=_SPENDS),
)
