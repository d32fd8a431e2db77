"""A request to STS for a session, and the credentials that STS returns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firstboot.domain.names import DeviceId


@dataclass(frozen=True)
class SessionRequest:
    """A request for a session of `seconds` with the role `role_arn`.

    `policy` is the session policy in JSON. `tags` become session tags.
    """

    role_arn: str
    device_id: DeviceId
    policy: str
    seconds: int
    tags: dict[str, str]


@dataclass(frozen=True, repr=False)
class Credentials:
    """Short-lived AWS credentials. They have no repr, so that a log cannot show them by accident."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime
