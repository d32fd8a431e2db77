"""The simulated storms, and what is measured of each."""

from __future__ import annotations

from dataclasses import dataclass

from bench.storm import simulation
from bench.storm.clients import clients, first_wait, virtual
from bench.storm.service import Broker, Https, Logins
from bench.storm.simulation import Result

ADMITTED = 4
"""The gateway admits so many times the service's rate (infra/throttles.py), in a bucket of two seconds."""

CONNECTS = 500
"""AWS IoT Core quotas, "Connect requests per second per account": the default."""

HTTPS, SCRIPT, MQTT, OLD = "device, HTTPS", "firstboot.sh", "device, MQTT", "device of 2026-11, HTTPS"


_UNLIMITED = 1e9


@dataclass(frozen=True)
class Storm:
    """`devices` that get power together, at a service that enrolls `per_minute`.

    They come within `within` seconds; None is the first wait that fits. `connects` is the broker's limit.
    Without `throttled` neither the gateway nor the broker refuses a request, as on one machine.
    """

    devices: int
    per_minute: int
    client: str
    within: float | None = None
    connects: float = CONNECTS
    throttled: bool = True

    @property
    def rate(self) -> float:
        """Return the service's rate in devices a second."""
        return self.per_minute / 60

    @property
    def spread(self) -> float:
        """Return the seconds over which the first requests come."""
        return first_wait(self.devices, self.rate) if self.within is None else self.within

    def run(self, seed: int = 1) -> Result:
        """Simulate the storm. The same seed gives the same result."""
        random = virtual(seed)
        admitted = ADMITTED * self.rate if self.throttled else _UNLIMITED
        service: Https | Broker
        if self.client == MQTT:
            connects = self.connects if self.throttled else _UNLIMITED
            service = Broker(self.per_minute, connects, self.rate)
        else:
            service = Https(self.per_minute, admitted, 2 * admitted)
        client = clients(random)[self.client]
        return simulation.run(self.devices, self.rate, self.spread, client, service, random)


def logins(devices: int, rate: float, within: float, seed: int = 1) -> Result:
    """Simulate devices with an identity that log in, at a gateway that admits `rate` requests a second."""
    random = virtual(seed)
    client = clients(random)[HTTPS]
    return simulation.run(devices, rate, within, client, Logins(rate, rate), random)
