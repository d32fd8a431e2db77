"""The settings of the register Lambda functions, from their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class RegisterSettings(Settings):
    """The settings of `work` and `jitr`.

    `stack` begins our names in AWS IoT. `queue` is the URL of the queue that delivers the messages and takes
    those that must wait for their slot. `iot_rate` is the number of slots that the rate limiter gives a
    second. `fleet_refresh` is in seconds.
    """

    table: str
    bucket: str
    stack: str
    partition: str
    region: str
    account: str
    queue: str
    iot_rate: str
    fleet_refresh: str


@dataclass(frozen=True)
class ChangesSettings(Settings):
    """The settings of `changes`: the URLs of the rate-limited queue and of the urgent queue."""

    queue: str
    urgent_queue: str


@dataclass(frozen=True)
class SweepSettings(Settings):
    """The settings of `sweep`.

    `queue` is the URL of the queue of orders, `fleet_refresh` how old the fleet of a process that handles
    them may be, in seconds. `stack` begins the policies' names.
    """

    table: str
    bucket: str
    queue: str
    stack: str
    partition: str
    region: str
    account: str
    fleet_refresh: str
