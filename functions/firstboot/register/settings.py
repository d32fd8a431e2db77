"""The settings of the register Lambda functions, from their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class RegisterSettings(Settings):
    """The settings that `work` and `jitr` share.

    `stack` begins our names in AWS IoT. `iot_rate` is the number of slots that the rate limiter gives a
    second. `fleet_refresh` is in seconds. `account` owns the bucket.
    """

    table: str
    bucket: str
    stack: str
    account: str
    iot_rate: str
    fleet_refresh: str


@dataclass(frozen=True)
class JitrSettings(RegisterSettings):
    """The settings of `jitr`. `passed_queue` is the URL of the queue of events that passed."""

    passed_queue: str


@dataclass(frozen=True)
class QueuesSettings(Settings):
    """The URLs of the queues to which orders are sent. `changes` has only these settings."""

    urgent_queue: str
    changes_queue: str


@dataclass(frozen=True)
class WorkSettings(RegisterSettings, QueuesSettings):
    """The settings of `work`.

    `certificates_queue` is the URL of the queue to which S3 sends. `partition` and `region`, with `account`,
    are the place that policies are rendered for.
    """

    partition: str
    region: str
    certificates_queue: str


@dataclass(frozen=True)
class SweepSettings(QueuesSettings):
    """The settings of `sweep`.

    `fleet_refresh` is how old the fleet of a process that handles orders may be, in seconds. `stack` begins
    the policies' names.
    """

    table: str
    bucket: str
    stack: str
    partition: str
    region: str
    account: str
    fleet_refresh: str
