"""A request to STS for a session, and the credentials and sizes that STS returns."""

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


@dataclass(frozen=True)
class SessionSizes:
    """The sizes of a session, as STS says them. None is what STS does not say.

    `token_bytes` is the length of the session token, and `token_percent` its part of the longest token that
    STS makes. `packed_percent` is the part that session policy and tags use of the space that STS has for
    them. Source: STS API reference, AssumeRole, "Response Elements".
    """

    token_bytes: int | None = None
    token_percent: int | None = None
    packed_percent: int | None = None


@dataclass(frozen=True)
class AssumedRole:
    """A session's ARN and id at STS. `name` is its RoleSessionName and its SourceIdentity."""

    arn: str = ""
    role_id: str = ""
    name: str = ""


@dataclass(frozen=True, repr=False)
class Credentials:
    """Short-lived AWS credentials. They have no repr, so that a log cannot show them by accident."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime
    sizes: SessionSizes = SessionSizes()
    session: AssumedRole = AssumedRole()
