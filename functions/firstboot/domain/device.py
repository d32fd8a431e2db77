"""The device record and its lifecycle. Pure.

    (none) ───────────────┐
    expected ──enroll──▶ pending ──first login──▶ active ──renew, or enroll anew──▶ active + pending
                                                    ▲                                     │
                                                    └── first login: the old is superseded┘
    any ──revoke──▶ revoked (for good)
    any ──delete──▶ deleted ──AWS IoT cleared──▶ (none)

An *expected* device was named by the operator before it came. A *pending* certificate is held for
a while: until then no other key may take its place. It may log in for as long as it is the pending
one and valid; that first login commits it. There is one *active* certificate at most. A
*superseded* one has lost its rights at that very moment; for the group's grace it may ask again
for the one that superseded it, since its device may have lost power right after the commit.

Every check of a device's status is here. `aws/dynamodb/claims.py` has the same checks as DynamoDB conditions;
a property test holds the two together.
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
"""How long a pending certificate keeps another key of the same device out."""

DELETION = timedelta(minutes=1)
"""When a deleted device may ask again: AWS IoT is cleared in seconds, unless there is a queue."""

Attribute = str | bool | int


class Status(StrEnum):
    """Whether the device may be anyone here. Revocation is for good. A deleted device's record is
    there until nothing is left of it in AWS IoT.
    """

    EXPECTED = "expected"
    ENROLLED = "enrolled"
    REVOKED = "revoked"
    DELETED = "deleted"


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate as its device's record holds it: all that its TBS is rebuilt from.

    Times are whole seconds (see clock.py). `serial` and `spki` (SHA-256 of the SubjectPublicKeyInfo)
    are lower-case hex. `held_until` is None once the certificate keeps no other key out.
    `certificate_id` is known from the first login on; `superseded_at` is set by the first login of
    the certificate that follows. An `imported` certificate was issued elsewhere, and may only ask
    for its successor.
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
    """A device record. `attributes` are set by the operator, `claims` by the device; `enrolled_by` is the
    SHA-256 of the bootstrap certificate (hex; None while expected).

    `register` writes what it last reconciled: `registered` has the ids of the device's certificates that
    are ACTIVE in AWS IoT, `attached` the grants whose policies the current certificates have.
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
    """A group's budget: devices in all, a minute, and an hour before the group is frozen."""

    total: int
    per_minute: int
    freeze_per_hour: int | None = None


@dataclass(frozen=True)
class Enrollment:
    """What a bootstrap certificate asks of a device's record: this certificate, in this group.

    `replaces`: an active certificate may be replaced. `expected`: the device must have been named
    beforehand. `grace`: how long after its end an active certificate still counts. `now` is in whole
    seconds, as the conditions of the row compare them.
    `per_day`: how often a day the device may enroll, None for as often as it likes.
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
    """What an operational certificate (`caller`, its serial) asks of its device's record. `claims`
    None leaves those there are. `grace` is the group's. `now` is in whole seconds.
    """

    device_id: DeviceId
    caller: str
    certificate: CertificateRecord
    claims: dict[str, Attribute] | None
    now: datetime
    grace: timedelta


def check_not_revoked(device: Device) -> None:
    """Refuse a device that has lost its rights, by revocation or deletion.

    Raises DeviceRevoked, CertificateNotCurrent.
    """
    if device.status is Status.REVOKED:
        raise DeviceRevoked
    if device.status is Status.DELETED:
        raise CertificateNotCurrent(log="the device has been deleted")


def check_admissible(device: Device, group: str) -> None:
    """Refuse a device that could never enroll in `group`: a first binding is for good.

    A deleted device is not refused, because its name is free again as soon as its record is gone.

    Raises DeviceRevoked, GroupMismatch.
    """
    if device.status is Status.DELETED:
        return
    check_not_revoked(device)
    if device.group != group:
        raise GroupMismatch(log=f"is in {device.group}, asked in {group}")


def answer_to(device: Device | None, asked: Enrollment | Renewal) -> CertificateRecord | None:
    """Decide what is asked: None if it may claim the record, or the certificate that already
    answers it (a repeat).

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
    # An identity whose time and grace are over does not prevent another enrollment.
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
    """The certificate that answers already; None if there is none and nothing is held.

    Raises EnrollmentInProgress.
    """
    for known in (device.pending, device.active):
        if known and known.spki == asked.certificate.spki and asked.now < known.renew_after:
            return known
    held_until = device.pending.held_until if device.pending else None
    if held_until and held_until > asked.now:
        raise EnrollmentInProgress(retry_after=epoch(held_until) - epoch(asked.now))
    return None


def _is_over(known: CertificateRecord, asked: Enrollment | Renewal) -> bool:
    # RFC 5280 (4.1.2.5) lets a certificate end in the last second of 9999: add nothing to that.
    return asked.now - known.not_after >= asked.grace


def _check_late(active: CertificateRecord, asked: Renewal) -> None:
    if _is_over(active, asked):
        raise CertificateExpired(log="and its grace is over")
    if active.spki != asked.certificate.spki:
        raise CertificateExpired("An expired certificate can renew its own key only")


def is_within_grace(superseded: CertificateRecord, grace: timedelta, now: datetime) -> bool:
    """Tell whether a superseded certificate may still ask for its successor."""
    return superseded.superseded_at is not None and now - superseded.superseded_at < grace


def _is_superseded(device: Device, asked: Renewal) -> bool:
    return device.superseded is not None and device.superseded.serial == asked.caller


def _successor(device: Device, asked: Renewal) -> CertificateRecord:
    old, new = device.superseded, device.active
    within = old is not None and is_within_grace(old, asked.grace, asked.now)
    if new is None or not within or new.spki != asked.certificate.spki:
        raise CertificateNotCurrent(log="superseded, and not asking for its successor in time")
    return new


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


def committed(device: Device, certificate_id: str, now: datetime) -> Device:
    """Return the record after the first login of its pending certificate: that certificate is active,
    the one before it superseded.
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
