"""A device's record and what may become of it. Pure.

    (none) ──enroll──▶ pending ──first login──▶ active ──enroll, group replaces──▶ active + pending
                                                  ▲                                     │
                                                  └──────────── first login ────────────┘
    any ──revoke──▶ revoked (for good)

A pending certificate is *held* for a while: until then no other key may take its place. It may
log in for as long as it is the pending one and valid; that first login commits it.
Every status check of the product is here; `aws/registry.py` says the same as conditions, and a
test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from firstboot.errors import (
    AlreadyEnrolled,
    CertificateNotCurrent,
    DeviceRevoked,
    EnrollmentInProgress,
    GroupMismatch,
)
from firstboot.names import DeviceId

HOLD_SECONDS = 900
"""How long a pending certificate keeps another key of the same device out."""

Attribute = str | bool | int


class Status(StrEnum):
    """Whether the device may be anyone here. Revocation is for good."""

    ENROLLED = "enrolled"
    REVOKED = "revoked"


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate as the registry knows it: all that its TBS is rebuilt from. Times are epoch
    seconds; `serial` and `spki` (SHA-256 of the SubjectPublicKeyInfo) lower-case hex.
    `certificate_id` is known from the first login on.
    """

    serial: str
    spki: str
    not_before: int
    not_after: int
    renew_after: int
    held_until: int = 0
    certificate_id: str | None = None


@dataclass(frozen=True)
class Device:
    """A device's record. `attributes` are the operator's, `claims` what the device says of
    itself, `enrolled_by` the SHA-256 of the bootstrap certificate (hex).
    """

    device_id: DeviceId
    group: str
    status: Status
    generation: int
    enrolled_by: str
    created_at: int
    updated_at: int
    pending: CertificateRecord | None = None
    active: CertificateRecord | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    claims: dict[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Enrollment:
    """What an enrollment asks of a device's record: this certificate, in this group."""

    device_id: DeviceId
    group: str
    replaces: bool
    certificate: CertificateRecord
    enrolled_by: str
    claims: dict[str, Attribute]
    now: int


def check_not_revoked(device: Device) -> None:
    """Refuse a device that has lost its rights.

    Raises DeviceRevoked.
    """
    if device.status is Status.REVOKED:
        raise DeviceRevoked


def enrolls_anew(device: Device | None, enrollment: Enrollment) -> CertificateRecord | None:
    """Decide an enrollment: None if it may claim the record, or the certificate that already
    answers it (a repeat).

    Raises DeviceRevoked, GroupMismatch, EnrollmentInProgress, AlreadyEnrolled.
    """
    if device is None:
        return None
    check_not_revoked(device)
    if device.group != enrollment.group:
        raise GroupMismatch(log=f"is in {device.group}, asked in {enrollment.group}")
    for known in (device.pending, device.active):
        if known and _answers(known, enrollment):
            return known
    if device.pending and device.pending.held_until > enrollment.now:
        raise EnrollmentInProgress(retry_after=device.pending.held_until - enrollment.now)
    if device.active and not enrollment.replaces:
        raise AlreadyEnrolled
    return None


def _answers(known: CertificateRecord, enrollment: Enrollment) -> bool:
    return known.spki == enrollment.certificate.spki and enrollment.now < known.renew_after


@dataclass(frozen=True)
class Login:
    """A device whose certificate is its own; `pending` is that certificate if it must be committed."""

    device: Device
    pending: CertificateRecord | None


def login(device: Device | None, serial: str) -> Login:
    """Decide a login with the certificate of `serial` (lower-case hex).

    Raises DeviceRevoked, CertificateNotCurrent.
    """
    if device is None:
        raise CertificateNotCurrent(log="no such device")
    check_not_revoked(device)
    if device.active and device.active.serial == serial:
        return Login(device, None)
    if device.pending and device.pending.serial == serial:
        return Login(device, device.pending)
    raise CertificateNotCurrent(log=f"serial {serial} is neither active nor pending")
