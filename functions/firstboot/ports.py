"""The three ports of the use cases. A method is one domain step and one AWS call.

Signing needs no port: `cryptography`'s `EllipticCurvePrivateKey` is one, with KMS behind it.
Every method raises Unavailable when AWS does not do its part.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from firstboot.lifecycle import Attribute, CertificateRecord, Device, Enrollment
from firstboot.names import DeviceId


@dataclass(frozen=True)
class Limits:
    """A group's enrollment budget: devices in all, and devices a minute."""

    total: int
    per_minute: int


class RefusedBy(StrEnum):
    """Which condition of a claim did not hold."""

    DEVICE = "device"
    KEY = "key"
    TOTAL = "total"
    RATE = "rate"


@dataclass(frozen=True)
class ClaimRefused:
    """The claim wrote nothing. `device` is the row as it is, where its own condition failed."""

    by: RefusedBy
    device: Device | None = None


class Registry(Protocol):
    """The devices' records."""

    def claim(self, enrollment: Enrollment, limits: Limits | None) -> ClaimRefused | None:
        """Record the intent to certify, or say what stands against it; all or nothing."""

    def device(self, device_id: DeviceId) -> Device | None:
        """The record, read consistently."""

    def commit(self, device_id: DeviceId, certificate: CertificateRecord, now: int) -> Device:
        """Make the pending certificate the active one; repeating it changes nothing.

        Raises CertificateNotCurrent, DeviceRevoked.
        """


class OperatorRegistry(Registry, Protocol):
    """The same records, with what only an operator does to them."""

    def page(self, limit: int, after: str | None) -> tuple[list[Device], str | None]:
        """Some records (about `limit`, in no order) and where the next page starts, if any."""

    def revoke(self, device_id: DeviceId, now: int) -> Device:
        """Take the device's rights for good; repeating it changes nothing.

        Raises DeviceNotFound.
        """

    def set_attributes(self, device_id: DeviceId, changes: dict[str, Attribute | None], now: int) -> Device:
        """Set attributes; None removes one.

        Raises DeviceNotFound.
        """


class CertificateStore(Protocol):
    """The issued certificates: what is here has been issued."""

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """Store `chain` (PEM) unless there is one; True if this call stored it."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """The stored chain (PEM), or None if the certificate has not been issued."""

    def url(self, device_id: DeviceId, serial: str, seconds: int) -> str:
        """A presigned URL of the chain, good for `seconds`. Local; calls nothing."""


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
    """Short-lived AWS credentials. `expiration` is in epoch seconds. Never logged: no repr."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: int


class Sts(Protocol):
    """The maker of sessions."""

    def assume(self, request: SessionRequest) -> Credentials:
        """A session of the role.

        Raises RoleNotAssumable, DurationTooLong, SessionPolicyTooLarge.
        """
