"""What the exchange Lambda functions are told by their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


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
