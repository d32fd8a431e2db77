"""The settings of the vend Lambda functions, from their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class VendSettings(Settings):
    """The settings of `http` and `mqtt`.

    `ca_certificate` is PEM. `partition`, `region` and `account` are also the place of the fleet roles.
    `fleet_refresh` is in seconds. `sts_rate` is the quota of STS, and `iot_rate` how many orders to reconcile
    a device are handled, both in a second. The names of the stack's secrets begin with `stack`.
    """

    table: str
    bucket: str
    ca_certificate: str
    partition: str
    region: str
    account: str
    fleet_refresh: str
    sts_rate: str
    iot_rate: str
    stack: str
