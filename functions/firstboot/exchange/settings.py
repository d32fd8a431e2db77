"""The settings of the exchange Lambda functions, from their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class ExchangeSettings(Settings):
    """The settings of `http`, `mqtt` and `presence`.

    `ca_certificate` is PEM. The deployment writes it here, so that no function needs a call to read it or can
    cache a wrong one. `ca_key` is a KMS key's ARN, `mqtt_host` AWS IoT's data endpoint, `fleet_refresh` is in
    seconds. `account` owns the bucket. `kms_rate` is the quota of KMS, in signatures a second.
    The names of the stack's secrets begin with `stack`.
    """

    table: str
    bucket: str
    account: str
    ca_certificate: str
    ca_key: str
    mqtt_host: str
    mqtt_port: str
    fleet_refresh: str
    kms_rate: str
    stack: str


@dataclass(frozen=True)
class ProvisioningSettings(Settings):
    """The settings of `provisioning`, which has no CA key. A thing is ours if `stack` is its type."""

    table: str
    bucket: str
    account: str
    stack: str
    fleet_refresh: str
