"""What the assign Lambda function is told by its environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


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
