"""A request to STS for a session, and the credentials it returns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firstboot.domain.names import DeviceId


@dataclass(frozen=True)
class SessionRequest:
    """What to ask of STS. `policy` is the session policy's JSON; `tags` become session tags."""

    role_arn: str
    device_id: DeviceId
    policy: str
    seconds: int
    tags: dict[str, str]


@dataclass(frozen=True, repr=False)
class Credentials:
    """Short-lived AWS credentials. They have no repr, so that no log shows them."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime
