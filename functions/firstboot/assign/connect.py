"""Connect with a token: which rights a device has at the broker, and for how long.

1. The token names an issuer of the fleet.
2. The issuer's key signed the token, for this deployment and for the present time (pki/token.py).
3. The token's subject is the MQTT client id, which is the device id.
4. The device's record exists, is not revoked, and is in a group that the issuer is accepted for.
5. The token is valid for at least as long as AWS IoT's shortest connection.
6. The rules decide the device's grants now, and the grants render to policies for this device.

Nothing is written: a token proves no certificate, so there is nothing to commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from firstboot.assign.errors import (
    TokenDeviceUnknown,
    TokenEndsTooSoon,
    TokenGroupRefused,
    TokenSubjectMismatch,
)
from firstboot.domain.device import Device, check_not_revoked
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId, device_id
from firstboot.domain.token_issuer import TokenIssuer
from firstboot.pki import token
from firstboot.pki.errors import TokenUntrusted
from firstboot.pki.token import SigningKey, VerifiedToken
from firstboot.policy.render import Place, connection_policies
from firstboot.policy.rules import RequestContext, Rules

SECONDS = range(300, 86_401)
"""The durations that AWS IoT allows for a connection and for its refresh.

AWS IoT developer guide, "Defining your Lambda function".
"""

REFRESH = 900
"""Seconds after which AWS IoT asks again. Then a changed rule or a revocation takes effect.

Each refresh of each connected device costs an invocation and a consistent read. The shortest life of vended
credentials is as long, so neither way to AWS keeps its rights much longer than the other.
"""

FindKey = Callable[[str, str, datetime], SigningKey]
"""Find an issuer's key by the URL of its key set and the key's id.

Raises TokenUntrusted, IssuerUnavailable.
"""


@dataclass(frozen=True, repr=False)
class ConnectionRequest:
    """A client's request to connect to the broker.

    It has no repr, so that the token is never logged.
    """

    token: str
    client_id: str


@dataclass(frozen=True)
class Authorized:
    """A device's authorized connection.

    `seconds` until it ends and `refresh`, the seconds until AWS IoT asks again, count from now.
    """

    device_id: DeviceId
    issuer: str
    policies: list[dict[str, Any]]
    seconds: int
    refresh: int


class Records(Protocol):
    """The device records."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently. Raises Unavailable."""


@dataclass(frozen=True)
class Connect:
    """The use case that authorizes the connection of a device with a token.

    `audience` is the `aud` that tokens for this deployment have.
    """

    find_key: FindKey
    audience: str
    place: Place
    records: Records

    def __call__(self, request: ConnectionRequest, rules: Rules, now: datetime) -> Authorized:
        """Return the rights at the broker of the device that the token names.

        A repeat gives the same answer. Raises TokenError, DeviceIdInvalid, DeviceRevoked,
        CertificateNotCurrent (for a deleted device), NoGrant, Unavailable.
        """
        unverified = token.parse(request.token)
        issuer = _issuer(unverified.issuer, rules.fleet)  # 1
        key = self.find_key(issuer.jwks, unverified.key_id, now)
        verified = token.verify(unverified, issuer, key, self.audience, now)  # 2
        if verified.subject != request.client_id:  # 3
            raise TokenSubjectMismatch(log=f"{verified.subject[:80]!r} as {request.client_id[:80]!r}")
        name = device_id(request.client_id, rules.fleet.ids)
        device = _member(self.records.device(name), issuer, rules.fleet)  # 4
        seconds = _seconds(verified, now)  # 5
        held = rules.decide(device, RequestContext())  # 6
        # The policies have the literal device id. A connection with a token need not have a thing attached,
        # and without a thing AWS IoT leaves the thing's policy variables empty.
        policies = connection_policies(rules.fleet, held.grants, device.device_id, self.place)
        return Authorized(device.device_id, issuer.name, policies, seconds, _refresh(seconds))


def _issuer(name: str, fleet: Fleet) -> TokenIssuer:
    for issuer in fleet.issuers.values():
        if issuer.issuer == name:
            return issuer
    raise TokenUntrusted(log=f"issuer {name[:200]!r}")


def _member(device: Device | None, issuer: TokenIssuer, fleet: Fleet) -> Device:
    if device is None:
        raise TokenDeviceUnknown
    check_not_revoked(device)
    if fleet.current_name(device.group) not in issuer.groups:
        raise TokenGroupRefused(log=f"{issuer.name} for {device.group}")
    return device


def _seconds(verified: VerifiedToken, now: datetime) -> int:
    """Return the seconds until the token ends, at most the longest connection that AWS IoT allows."""
    left = int((verified.expires_at - now).total_seconds())
    if left < SECONDS.start:
        raise TokenEndsTooSoon(log=f"{left} s")
    return min(left, SECONDS.stop - 1)


def _refresh(seconds: int) -> int:
    """Return the seconds until AWS IoT asks again.

    A refresh presents the same token, and a token that ends in less than 300 seconds is refused. So none is
    due near the end: the connection ends when its token does, not before.
    """
    return REFRESH if seconds >= REFRESH + 2 * SECONDS.start else seconds
