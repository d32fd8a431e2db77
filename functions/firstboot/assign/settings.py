"""The settings of the assign Lambda function, from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class AssignSettings(Settings):
    """The settings of `authorize`.

    `audience` is the `aud` that tokens for this deployment have. `fleet_refresh` is in seconds.
    """

    table: str
    bucket: str
    partition: str
    region: str
    account: str
    audience: str
    fleet_refresh: str
