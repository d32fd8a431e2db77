"""The device record and its lifecycle.

    (none) ───────────────┐
    expected ──enroll──▶ pending ──first login──▶ active ──renew, or enroll anew──▶ active + pending
                                                    ▲                                     │
                                                    └── first login: the old is superseded┘
    any ──revoke──▶ revoked (for good)
    any ──delete──▶ deleted ──AWS IoT cleared──▶ (none)

- An operator named an *expected* device before its first request.
- A *pending* certificate blocks other keys of its device for `HOLD`. It may log in while it is pending and
  valid, even months after it was issued on a factory bench. The first login commits it.
- There is at most one *active* certificate.
- A *superseded* certificate lost its rights at its successor's commit, so a device never has two identities.
  During the group's grace it may ask for that successor again: power may have failed right after the commit.

All checks of a device's status are here; they say why a claim is refused. `aws/dynamodb/claims.py` repeats
them as DynamoDB conditions, which make the claim atomic. A property test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from firstboot.domain.clock import epoch, whole_seconds
from firstboot.domain.errors import (
    AlreadyEnrolled,
    CertificateExpired,
    CertificateNotCurrent,
    DeviceNotExpected,
    DeviceRevoked,
    EnrollmentInProgress,
    GroupMismatch,
)
from firstboot.domain.names import DeviceId

HOLD = timedelta(minutes=15)
"""How long a pending certificate blocks other keys of its device. Without a hold, two boots could race to two
certificates; with an endless one, a device that lost its new key could never enroll again."""

DELETION = timedelta(minutes=1)
"""How long a deleted device is told to wait: clearing AWS IoT takes seconds unless other work is queued."""

Attribute = str | bool | int


class Status(StrEnum):
    """A device's status. REVOKED is final. A DELETED device's record tells `register` what to remove
    from AWS IoT, and prevents a new enrollment until nothing is left there.
    """

    EXPECTED = "expected"
    ENROLLED = "enrolled"
    REVOKED = "revoked"
    DELETED = "deleted"


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate in a device record: with device id and public key, all that its TBS is rebuilt from.

    Times are whole seconds. `serial` and `spki` (SHA-256 of the SubjectPublicKeyInfo) are lower-case hex.
    `held_until` is None once the certificate no longer blocks other keys. `certificate_id` is set by the
    first login, `superseded_at` by the first login of the next certificate. An `imported` certificate was
    issued by another CA, and may only ask for its successor.
    """

    serial: str
    spki: str
    not_before: datetime
    not_after: datetime
    renew_after: datetime
    held_until: datetime | None = None
    certificate_id: str | None = None
    superseded_at: datetime | None = None
    imported: bool = False


@dataclass(frozen=True)
class Device:
    """A device record. The operator sets `attributes`, the device sets `claims`.

    `enrolled_by` is the SHA-256 (hex) of the bootstrap certificate; None while the device is expected.
    `register` notes what it last reconciled: `registered` has the ids of the device's certificates that are
    ACTIVE in AWS IoT, `attached` the grants whose policies the current certificates have. A sweep compares
    them with the rules, because asking AWS IoT would take 55 hours for a million devices.
    """

    device_id: DeviceId
    group: str
    status: Status
    generation: int
    created_at: datetime
    updated_at: datetime
    enrolled_by: str | None = None
    pending: CertificateRecord | None = None
    active: CertificateRecord | None = None
    superseded: CertificateRecord | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    claims: dict[str, Attribute] = field(default_factory=dict)
    registered: frozenset[str] = frozenset()
    attached: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Limits:
    """A group's limits: devices in all, in one minute, and in one hour before the group freezes."""

    total: int
    per_minute: int
    freeze_per_hour: int | None = None


@dataclass(frozen=True)
class Enrollment:
    """A request to record `certificate` as pending, made with a bootstrap certificate.

    `replaces` allows an active certificate to be replaced. `expected` demands a record that an operator made
    beforehand. `grace` is how long after its end an active certificate still counts as an identity.
    `per_day` limits the device's enrollments in one day; None is no limit. `now` is in whole seconds,
    which the conditions on the row compare.
    """

    device_id: DeviceId
    group: str
    replaces: bool
    certificate: CertificateRecord
    enrolled_by: str
    claims: dict[str, Attribute]
    now: datetime
    grace: timedelta
    expected: bool = False
    limits: Limits | None = None
    per_day: int | None = None


@dataclass(frozen=True)
class Renewal:
    """A request to record `certificate` as pending, made with an operational certificate.

    `caller` is the serial of that operational certificate (hex). `claims` is None if the recorded claims
    stay. `grace` is the group's. `now` is in whole seconds.
    """

    device_id: DeviceId
    caller: str
    certificate: CertificateRecord
    claims: dict[str, Attribute] | None
    now: datetime
    grace: timedelta


def check_not_revoked(device: Device) -> None:
    """Refuse a device that was revoked or deleted.

    Raises DeviceRevoked, CertificateNotCurrent.
    """
    if device.status is Status.REVOKED:
        raise DeviceRevoked
    if device.status is Status.DELETED:
        raise CertificateNotCurrent(log="the device has been deleted")


def check_admissible(device: Device, group: str) -> None:
    """Refuse a device that could never enroll in `group`; its first enrollment bound it to one group.

    A deleted device is not refused, because its name is free again as soon as its record is gone.

    Raises DeviceRevoked, GroupMismatch.
    """
    if device.status is Status.DELETED:
        return
    check_not_revoked(device)
    if device.group != group:
        raise GroupMismatch(log=f"is in {device.group}, asked in {group}")


def answer_to(device: Device | None, asked: Enrollment | Renewal) -> CertificateRecord | None:
    """Return None if the request may claim the record, or the certificate that answers a repeat.

    Raises DeviceNotExpected, DeviceRevoked, GroupMismatch, EnrollmentInProgress, AlreadyEnrolled,
    CertificateNotCurrent, CertificateExpired.
    """
    if isinstance(asked, Renewal):
        return _renewed(device, asked)
    return _enrolled(device, asked)


def _enrolled(device: Device | None, asked: Enrollment) -> CertificateRecord | None:
    if device is None:
        if asked.expected:
            raise DeviceNotExpected
        return None
    if device.status is Status.DELETED:
        raise EnrollmentInProgress("The device is being deleted", retry_after=int(DELETION.total_seconds()))
    check_admissible(device, asked.group)
    known = _known(device, asked)
    # A device that was off until its grace ended must be able to enroll again, even if its group refuses.
    if known is None and device.active and not asked.replaces and not _is_over(device.active, asked):
        raise AlreadyEnrolled
    return known


def _renewed(device: Device | None, asked: Renewal) -> CertificateRecord | None:
    if device is None:
        raise CertificateNotCurrent(log="no such device")
    check_not_revoked(device)
    if _is_superseded(device, asked):
        return _successor(device, asked)
    if device.active is None or device.active.serial != asked.caller:
        raise CertificateNotCurrent(log=f"serial {asked.caller} is not active")
    if device.active.not_after < asked.now:
        _check_late(device.active, asked)
    return _known(device, asked)


def _known(device: Device, asked: Enrollment | Renewal) -> CertificateRecord | None:
    """Return the recorded certificate for the requested key; None if a new certificate may be claimed.

    Raises EnrollmentInProgress while another key is held.
    """
    # From `renew_after` on a key may be certified again: a secure element may be unable to make another one.
    for known in (device.pending, device.active):
        if known and known.spki == asked.certificate.spki and asked.now < known.renew_after:
            return known
    held_until = device.pending.held_until if device.pending else None
    if held_until and held_until > asked.now:
        raise EnrollmentInProgress(retry_after=epoch(held_until) - epoch(asked.now))
    return None


def _is_over(known: CertificateRecord, asked: Enrollment | Renewal) -> bool:
    # RFC 5280 (4.1.2.5) allows an end in the last second of 9999, to which no time can be added.
    return asked.now - known.not_after >= asked.grace


def _check_late(active: CertificateRecord, asked: Renewal) -> None:
    if _is_over(active, asked):
        raise CertificateExpired(log="the certificate and its grace are over")
    if active.spki != asked.certificate.spki:
        raise CertificateExpired("An expired certificate can be renewed for its own key only")


def is_within_grace(superseded: CertificateRecord, grace: timedelta, now: datetime) -> bool:
    """Return whether a superseded certificate may still ask for its successor."""
    return superseded.superseded_at is not None and now - superseded.superseded_at < grace


def _is_superseded(device: Device, asked: Renewal) -> bool:
    return device.superseded is not None and device.superseded.serial == asked.caller


def _successor(device: Device, asked: Renewal) -> CertificateRecord:
    old, new = device.superseded, device.active
    within = old is not None and is_within_grace(old, asked.grace, asked.now)
    if new is None or not within or new.spki != asked.certificate.spki:
        raise CertificateNotCurrent(log="superseded; no request for its successor within the grace")
    return new


@dataclass(frozen=True)
class Login:
    """An accepted login. `pending` is the certificate of the login if it must be committed, else None."""

    device: Device
    pending: CertificateRecord | None


def login(device: Device | None, serial: str) -> Login:
    """Decide a login with the certificate that has the serial number `serial` (lower-case hex).

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


def committed(device: Device, certificate_id: str, now: datetime) -> Device:
    """Return the record after the first login with its pending certificate, which becomes active; the
    certificate that was active becomes superseded. Without a pending one, return the record unchanged.
    """
    if device.pending is None:
        return device
    moment = whole_seconds(now)
    return replace(
        device,
        pending=None,
        active=replace(device.pending, certificate_id=certificate_id, held_until=None),
        superseded=replace(device.active, superseded_at=moment) if device.active else device.superseded,
        generation=device.generation + 1,
        updated_at=moment,
    )
