"""The settings of the vend Lambda functions, from their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class VendSettings(Settings):
    """The settings of `http` and `mqtt`.

    `ca_certificate` is PEM. `role_arns` is JSON that maps role aliases to the ARNs of the fleet roles behind
    them; the roles have generated names. `fleet_refresh` is in seconds.
    """

    table: str
    bucket: str
    ca_certificate: str
    partition: str
    region: str
    account: str
    role_arns: str
    fleet_refresh: str
