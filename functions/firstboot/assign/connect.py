"""Connect with a token: what a device may do at the broker, and for how long.

1. The token names an issuer of the fleet.
2. It is signed by that issuer's key, for this deployment and for now (pki/token.py).
3. Its subject is the MQTT client id, which is the device id.
4. The device's record exists, is not revoked, and is in a group the issuer speaks for.
5. The token lives as long as AWS IoT's shortest connection.
6. The rules decide the device's grants now; they render to policies for this device.

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
from firstboot.domain.fleet import Fleet, TokenIssuer
from firstboot.domain.names import DeviceId, device_id
from firstboot.pki import token
from firstboot.pki.errors import TokenUntrusted
from firstboot.pki.token import SigningKey, VerifiedToken
from firstboot.policy.render import Place, connection_policies
from firstboot.policy.rules import RequestContext, Rules

SECONDS = range(300, 86_401)
"""A connection's duration, and its refresh's (AWS IoT developer guide, "Defining your Lambda
function")."""

REFRESH = 900
"""Seconds after which AWS IoT asks again, and a changed rule or a revocation is felt."""

FindKey = Callable[[str, str, datetime], SigningKey]
"""Find an issuer's key by the URL of its key set and the key's id.

Raises TokenUntrusted, IssuerUnavailable.
"""


@dataclass(frozen=True, repr=False)
class ConnectionRequest:
    """What a client brings to the broker. It has no repr, so that the token is never logged."""

    token: str
    client_id: str


@dataclass(frozen=True)
class Authorized:
    """A device's authorized connection: its policies, its end and its next refresh in seconds from now."""

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
    """Authorize the connection of a device that brings a token.

    `audience` is what tokens for this deployment have as `aud`.
    """

    find_key: FindKey
    audience: str
    place: Place
    records: Records

    def __call__(self, request: ConnectionRequest, rules: Rules, now: datetime) -> Authorized:
        """Return what the device behind a token may do at the broker now.

        Raises TokenError, DeviceIdInvalid, DeviceRevoked, CertificateNotCurrent (deleted), NoGrant,
        Unavailable.
        """
        unverified = token.parse(request.token)
        issuer = _issuer(unverified.issuer, rules.fleet)  # 1
        key = self.find_key(issuer.jwks, unverified.key_id, now)
        verified = token.verify(unverified, issuer, key, self.audience, now)  # 2
        if verified.subject != request.client_id:  # 3
            raise TokenSubjectMismatch(log=f"{verified.subject[:80]!r} as {request.client_id[:80]!r}")
        device = _member(self.records.device(device_id(request.client_id)), issuer)  # 4
        seconds = _seconds(verified, now)  # 5
        held = rules.decide(device, RequestContext())  # 6
        policies = connection_policies(rules.fleet, held.grants, device.device_id, self.place)
        return Authorized(device.device_id, issuer.name, policies, seconds, _refresh(seconds))


def _issuer(name: str, fleet: Fleet) -> TokenIssuer:
    for issuer in fleet.issuers.values():
        if issuer.issuer == name:
            return issuer
    raise TokenUntrusted(log=f"issuer {name[:200]!r}")


def _member(device: Device | None, issuer: TokenIssuer) -> Device:
    if device is None:
        raise TokenDeviceUnknown
    check_not_revoked(device)
    if device.group not in issuer.groups:
        raise TokenGroupRefused(log=f"{issuer.name} for {device.group}")
    return device


def _seconds(verified: VerifiedToken, now: datetime) -> int:
    """Return the seconds the token is still valid, at most the longest connection that AWS IoT allows."""
    left = int((verified.expires_at - now).total_seconds())
    if left < SECONDS.start:
        raise TokenEndsTooSoon(log=f"{left} s")
    return min(left, SECONDS.stop - 1)


def _refresh(seconds: int) -> int:
    """Return the seconds until AWS IoT asks again.

    A refresh brings the same token. One that is asked for so late that the token is found too short would
    end the connection early, so there is none in the last stretch.
    """
    return REFRESH if seconds >= REFRESH + 2 * SECONDS.start else seconds
