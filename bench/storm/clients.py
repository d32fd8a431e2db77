"""The clients of a simulated storm. Their rules are the real ones, on a virtual clock."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from device.patience import HTTPS, MQTT, Patience
from device.refusal import Action, Refused

MARGIN = 1.04
"""The longest first wait is the time that all devices need at the service's rate, and so much longer. At the
rate itself a queue would grow with each minute in which more devices come than on average."""

_NEXT_RUN = 900.0
"""Seconds after which a timer runs a client again that gave up (docs/devices.md, "Back-off")."""


def first_wait(devices: int, rate: float) -> int:
    """Return the longest first wait in seconds for `devices` that get power together."""
    return round(devices / rate * MARGIN)


@dataclass(frozen=True)
class Client:
    """A kind of client, and the seconds after a refusal until it calls again."""

    name: str
    patience: Patience
    whole_seconds: bool = False

    def pause(self, refusal: Refused, earlier: int) -> float | None:
        """Return the pause that the client makes, or None if it gives up."""
        pause = self.patience.pause(refusal, earlier)
        if pause is None or not self.whole_seconds:
            return pause
        if refusal.retry_after is not None:
            return refusal.retry_after
        rules = (refusal.overloaded and self.patience.overload) or self.patience
        return float(int(self.patience.jitter() * (int(rules.bound(earlier)) + 1)))

    def next_run(self) -> float:
        """Return the seconds until a client that gave up runs again."""
        return _NEXT_RUN * (0.5 + self.patience.jitter())


def clients(jitter: Callable[[], float]) -> dict[str, Client]:
    """Return all kinds of client by name."""
    found = (
        Client("device, HTTPS", replace(HTTPS, jitter=jitter)),
        Client("firstboot.sh", replace(HTTPS, jitter=jitter), whole_seconds=True),
        Client("device, MQTT", replace(MQTT, jitter=jitter)),
        # Before the service named slots, a client knew no overload and waited five minutes at most.
        Client("device of 2026-11, HTTPS", Patience(jitter=jitter)),
    )
    return {client.name: client for client in found}


def gateway_refusal() -> Refused:
    """Return what a client makes of API Gateway's 429, which names no time."""
    return Refused(Action.RETRY, "Too Many Requests", overloaded=True)


CLOSED, UNKNOWN = "No connection", "AWS IoT does not know the new certificate yet"


def closed() -> Refused:
    """Return what a client makes of a connection that the broker closed."""
    return Refused(Action.RETRY, CLOSED)


def unknown(seconds: float) -> Refused:
    """Return what a client makes of a closed connection as long as AWS IoT may not know its certificate."""
    return Refused(Action.WAIT, UNKNOWN, retry_after=seconds, overloaded=True)


def slot(seconds: float) -> Refused:
    """Return what a client makes of a refusal that names its slot."""
    return Refused(Action.WAIT, "enrollment-rate-exceeded", retry_after=seconds, overloaded=True)


def virtual(seed: int) -> Callable[[], float]:
    """Return a source of random numbers that draws the same ones each time."""
    return random.Random(seed).random  # noqa: S311 - a simulation is repeatable
