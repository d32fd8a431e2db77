"""What the register Lambda functions are told by their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class RegisterSettings(Settings):
    """The settings of `work` and `jitr`.

    `stack` begins our names in AWS IoT; `queue` is the URL of the queue that brings the messages and takes
    them back until their slot; `iot_rate` is how many slots a second the rate limiter gives;
    `fleet_refresh` is in seconds.
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
    """The URLs of the rate-limited queue and of the urgent queue."""

    queue: str
    urgent_queue: str


@dataclass(frozen=True)
class SweepSettings(Settings):
    """`queue` is the URL of the queue that `register` works off, `fleet_refresh` how old its fleet may
    be, in seconds; `stack` begins the policies' names.
    """

    table: str
    bucket: str
    queue: str
    stack: str
    partition: str
    region: str
    account: str
    fleet_refresh: str
