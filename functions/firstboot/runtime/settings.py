"""What each Lambda is told by its environment: one class a Lambda, the only reader of it.

`infra/` builds the same classes with the stack's values and writes `environment()` into the
template, so that the two can't drift apart.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True)
class Settings:
    """A set of environment variables: field `table` is variable `FIRSTBOOT_TABLE`."""

    def environment(self) -> dict[str, str]:
        """The variables that carry these settings."""
        return {_variable(f.name): str(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings in `environment`, the process's own by default.

        Raises KeyError with the name of a variable that is missing.
        """
        source = os.environ if environment is None else environment
        return cls(**{f.name: source[_variable(f.name)] for f in fields(cls)})


def _variable(name: str) -> str:
    return f"FIRSTBOOT_{name.upper()}"


@dataclass(frozen=True)
class ExchangeSettings(Settings):
    """`ca_certificate` is PEM; `ca_key` a KMS key's ARN; `mqtt_host` AWS IoT's data endpoint.
    `fleet_refresh` is in seconds.
    """

    table: str
    bucket: str
    ca_certificate: str
    ca_key: str
    mqtt_host: str
    mqtt_port: str
    fleet_refresh: str


@dataclass(frozen=True)
class VendSettings(Settings):
    """`role_arns` is JSON: role alias to the ARN of the fleet role behind it."""

    table: str
    bucket: str
    ca_certificate: str
    partition: str
    region: str
    account: str
    role_arns: str
    fleet_refresh: str


@dataclass(frozen=True)
class AssignSettings(Settings):
    """`audience` is what tokens for this deployment have as `aud`."""

    table: str
    bucket: str
    partition: str
    region: str
    account: str
    audience: str
    fleet_refresh: str


@dataclass(frozen=True)
class OperateSettings(Settings):
    """What the operator's calls need: the device records, the fleet, and where policies apply.
    `dead_letters` is JSON: what a dead-letter queue holds, to its URL as `dead`, and that of the
    queue which its letters go back to as `source`, if there is one.
    """

    table: str
    bucket: str
    partition: str
    region: str
    account: str
    dead_letters: str


@dataclass(frozen=True)
class RegisterSettings(Settings):
    """`stack` begins our names in AWS IoT; `queue` is the URL of the rate-limited queue; `iot_rate` is how
    many slots a second the rate limiter gives; `fleet_refresh` is in seconds.
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


@dataclass(frozen=True)
class JitrSettings(Settings):
    """`stack` begins the names of our AWS IoT policies; `queue` is the URL of the JITR queue; `iot_rate`
    is how many slots a second the rate limiter gives; `fleet_refresh` is in seconds.
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
class AuthoritySettings(Settings):
    """`subject` is the CA certificate's common name, `years` its lifetime."""

    bucket: str
    ca_key: str
    subject: str
    years: str


@dataclass(frozen=True)
class WatchSettings(Settings):
    """`ca_certificate` is PEM."""

    ca_certificate: str
