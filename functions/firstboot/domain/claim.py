"""A claim, the conditional write that reserves a certificate before it is signed: request and outcome.

`answer_to` says why a claim is refused. `aws/dynamodb/claims.py` repeats its checks as DynamoDB conditions,
which make the claim atomic. A property test compares the two.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from firstboot.domain.clock import epoch, until_next
from firstboot.domain.device import (
    Anchor,
    CertificateRecord,
    Device,
    Status,
    check_admissible,
    check_not_revoked,
    check_pin,
    is_within_grace,
)
from firstboot.domain.errors import (
    AlreadyEnrolled,
    CertificateExpired,
    CertificateNotCurrent,
    DeviceNotExpected,
    EnrollmentInProgress,
    FirstbootError,
    RenewalRateExceeded,
)
from firstboot.domain.names import DeviceId, first_name
from firstboot.domain.ways import Way

HOLD = timedelta(minutes=15)
"""How long a pending certificate blocks other keys of its device. Without a hold, two boots could race to two
certificates; with an endless one, a device that lost its new key could never enroll again."""

DELETION = timedelta(minutes=1)
"""How long a deleted device is told to wait: clearing AWS IoT takes seconds unless other work is queued."""

RENEWALS_PER_DAY = 20
"""How many renewals one device may claim in a day of UTC. A device in the field renews once in months, and
one on a bench a few times in an hour. Revoking a device takes work for each certificate that it ever had, so
no device may collect them without end."""


NAME_GUESSES_PER_HOUR = 600
"""How many names a claim certificate may be refused with in an hour. A production line is refused a few times
in an hour. An attacker who knows how a maker numbers its devices needs hundreds of guesses to find a name
that is expected, and an accepted guess is a stolen identity."""


class RefusedBy(StrEnum):
    """The condition that did not hold when a claim was refused. `decisive` chooses among several."""

    BOOTSTRAP = "bootstrap"  # the bootstrap certificate is not revoked
    DEVICE = "device"  # the condition on the device record
    KEY = "key"  # the key belongs to no other device
    FROZEN = "frozen"  # the group is not frozen
    TOTAL = "total"  # fewer enrollments than the budget's `total`
    THRESHOLD = "threshold"  # fewer than `freeze_per_hour` enrollments in this hour
    RATE = "rate"  # fewer than `per_minute` enrollments in this minute
    GUESSES = "guesses"  # fewer than NAME_GUESSES_PER_HOUR refused names of this certificate in this hour
    DAY = "day"  # fewer than `per_day` enrollments of this device today, or a pause since the last one


ABOUT_NAME = frozenset({RefusedBy.DEVICE, RefusedBy.DAY})
"""The conditions that depend on the name that a device has."""


@dataclass(frozen=True)
class ClaimRefused:
    """A claim that was refused, so that nothing was written.

    `device` is the stored record if the condition on that record failed (`RefusedBy.DEVICE`), else None.
    `again_at` is when a refused device may enroll again (`RefusedBy.DAY`), else None.
    """

    by: RefusedBy
    device: Device | None = None
    again_at: datetime | None = None


@dataclass(frozen=True)
class Spent:
    """The part of a group's budget that is used up.

    `total` is what counts against the budget's `total`. `frozen_at` is None for a group that is not frozen.
    """

    total: int
    frozen_at: datetime | None


@dataclass(frozen=True)
class Limits:
    """A group's limits: devices in all, in one minute, and in one hour before the group freezes."""

    total: int
    per_minute: int
    freeze_per_hour: int | None = None


@dataclass(frozen=True)
class Enrollment:
    """A request to record `certificate` as pending, made with evidence that admits the device to a group.

    The record gets the name `group`; it may have had one of `formerly`, the group's earlier names.
    `enrolled_by`, `bootstrap_ids` and `anchor` describe the evidence, and `way` the way of asking, as in
    Device. `replaces`
    allows an active certificate to be replaced. `expected` demands a record that an operator made
    beforehand. `grace` is how long after its end an active certificate still counts as an identity.
    `per_day` limits the device's enrollments in one day; None is no limit. Above it the device may enroll
    once in each `pause_between`. `now` is in whole seconds, which the conditions on the row compare.
    `pin` is the SHA-256 (hex) of the bootstrap key, to which the device's name is bound from now on; None in
    a group that binds names to no key.
    """

    device_id: DeviceId
    group: str
    replaces: bool
    certificate: CertificateRecord
    enrolled_by: str
    bootstrap_ids: frozenset[str]
    anchor: Anchor
    now: datetime
    grace: timedelta
    way: Way | None
    expected: bool = False
    limits: Limits | None = None
    per_day: int | None = None
    formerly: tuple[str, ...] = ()
    pin: str | None = None

    @property
    def counted_as(self) -> str:
        """Return the name under which the group's enrollments are counted."""
        return first_name(self.group, self.formerly)


@dataclass(frozen=True)
class Renewal:
    """A request to record `certificate` as pending, made with an operational certificate.

    `caller` is the serial of that operational certificate (hex). `grace` is the group's. `now` is in whole
    seconds. `pin` is the SHA-256 (hex) of the caller's key if its certificate was imported and the group
    binds names to keys, else None. The device's name is then bound to that key, unless it is bound already.
    """

    device_id: DeviceId
    caller: str
    certificate: CertificateRecord
    now: datetime
    grace: timedelta
    pin: str | None = None


def answer_to(device: Device | None, asked: Enrollment | Renewal) -> CertificateRecord | None:
    """Return None if the request may claim the record, or the certificate that answers a repeat.

    Raises DeviceNotExpected, DeviceRevoked, GroupMismatch, BootstrapKeyChanged, EnrollmentInProgress,
    AlreadyEnrolled, CertificateNotCurrent, CertificateExpired, RenewalRateExceeded.
    """
    if isinstance(asked, Renewal):
        return _renewed(device, asked)
    return _enrolled(device, asked)


def is_claimable(device: Device | None, asked: Enrollment | Renewal) -> bool:
    """Return whether the request may claim the record."""
    try:
        return answer_to(device, asked) is None
    except FirstbootError:
        return False


def decisive(
    failed: AbstractSet[RefusedBy], device: Device | None, asked: Enrollment | Renewal
) -> ClaimRefused:
    """Return the refusal of a claim for which the conditions `failed` did not hold.

    `device` is the device's record. The first condition in RefusedBy's order counts. In a shared group the
    conditions that are the same for each name count before those about the name, so that a holder of the
    claim certificate learns nothing about a name while the group enrolls no device. A repeat is no guess,
    because its sender has the key of the certificate.
    """
    ordered = [each for each in RefusedBy if each in failed]
    first = ordered[0]
    is_shared = isinstance(asked, Enrollment) and asked.expected
    if first is RefusedBy.DEVICE and is_shared and not _is_repeat(device, asked):
        first = next((each for each in ordered if each not in ABOUT_NAME), first)
    return ClaimRefused(first, device if first is RefusedBy.DEVICE else None)


def _is_repeat(device: Device | None, asked: Enrollment | Renewal) -> bool:
    try:
        return answer_to(device, asked) is not None
    except FirstbootError:
        return False


def _enrolled(device: Device | None, asked: Enrollment) -> CertificateRecord | None:
    if device is None:
        if asked.expected:
            raise DeviceNotExpected
        return None
    if device.status is Status.DELETED:
        raise EnrollmentInProgress("The device is being deleted", retry_after=int(DELETION.total_seconds()))
    check_admissible(device, (asked.group, *asked.formerly))
    # Checked before a repeat is answered: after a copy of a disk, two boards have one operational key.
    if asked.pin:
        check_pin(device, asked.pin, asked.now)
    known = _known(device, asked)
    if known is None and device.active and not _may_replace(device, device.active, asked):
        raise AlreadyEnrolled
    return known


def _may_replace(device: Device, active: CertificateRecord, asked: Enrollment) -> bool:
    # A device that was off until its grace ended must be able to enroll again, even if its group refuses. So
    # must a board that an operator has admitted in the place of the enrolled one.
    is_admitted = asked.pin is not None and device.is_admitted(asked.pin, asked.now)
    return asked.replaces or is_admitted or _is_over(active, asked)


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
    known = _known(device, asked)
    # A repeat claims nothing, so it is answered beyond the limit too.
    if known is None:
        _check_rate(device, asked)
    return known


def _check_rate(device: Device, asked: Renewal) -> None:
    day = device.renewal_day
    # Clocks of two Lambda functions differ a little. A count of tomorrow must not make today's start again.
    if day is not None and day >= asked.now.date() and device.renewals >= RENEWALS_PER_DAY:
        raise RenewalRateExceeded(
            log=f"{device.device_id} has renewed {device.renewals} times on {day}",
            retry_after=until_next(timedelta(days=1), asked.now),
        )


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


def _is_superseded(device: Device, asked: Renewal) -> bool:
    return device.superseded is not None and device.superseded.serial == asked.caller


def _successor(device: Device, asked: Renewal) -> CertificateRecord:
    old, new = device.superseded, device.active
    within = old is not None and is_within_grace(old, asked.grace, asked.now)
    if new is None or not within or new.spki != asked.certificate.spki:
        raise CertificateNotCurrent(log="superseded; no request for its successor within the grace")
    return new
