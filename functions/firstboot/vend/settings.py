"""What the vend Lambda functions are told by their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


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
