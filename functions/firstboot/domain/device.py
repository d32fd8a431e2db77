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

All checks of a device's status are here and in `domain/claim.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from firstboot.domain.clock import whole_seconds
from firstboot.domain.enrollments import KEPT, KEY_DIGITS, Enrolled
from firstboot.domain.errors import BootstrapKeyChanged, CertificateNotCurrent, DeviceRevoked, GroupMismatch
from firstboot.domain.names import DeviceId
from firstboot.domain.ways import Way

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
    issued by another CA, and may only ask for its successor. `claims` are those that the device made when it
    asked for a pending certificate; None if it made none, and after the commit. `bootstrap_key` is that of
    the enrollment that a pending certificate was claimed by (SHA-256, hex); None for a renewal, and after the
    commit.
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
    claims: dict[str, Attribute] | None = None
    bootstrap_key: str | None = None


@dataclass(frozen=True)
class Anchor:
    """The trust anchor of a bootstrap certificate: the SHA-256 (hex) of its key, and its subject as text."""

    key: str
    subject: str


@dataclass(frozen=True)
class KeyAdmission:
    """A one-time admission: an operator admits the bootstrap key `key` once, before `until` (whole seconds).

    `key` is the SHA-256 (hex) of the SubjectPublicKeyInfo.
    """

    key: str
    until: datetime

    def admits(self, key: str, now: datetime) -> bool:
        """Return whether the admission is for this key and is not over."""
        return self.key == key and now < self.until


@dataclass(frozen=True)
class RefusedKey:
    """The bootstrap key (as in KeyAdmission) that was refused last under a device's name, and when."""

    key: str
    at: datetime


@dataclass(frozen=True)
class Device:
    """A device record. The operator sets `attributes`, the device sets `claims`, of which `claims_in_force`
    says which ones count.

    `enrolled_by` is the SHA-256 (hex) of what is signed in the bootstrap certificate; None while the device
    is expected. `bootstrap_ids` are the ids by which AWS IoT may know that certificate, and `anchor` is the
    anchor that it was verified under; None in a record that an older version wrote. `way` is the way of the
    last enrollment; None in such a record, and before the first enrollment.
    `register` notes what it last reconciled: `registered` has the ids of the device's certificates that are
    ACTIVE in AWS IoT, `attached` the grants whose policies the current certificates have and the superseded
    certificate that has the policy of superseded ones. A sweep compares them with the rules, because asking
    AWS IoT would take 55 hours for a million devices.
    `renewals` counts the renewals that were claimed on `renewal_day` (UTC), the last day with one.
    `activating` has the ids of certificates that a process is about to make ACTIVE; the process writes them
    before it does so. `imported` says that AWS IoT had the device's thing before Firstboot. `enrolled` are
    its last committed enrollments, oldest first.
    `pin` is the bootstrap key that the device's name is bound to, as the SHA-256 (hex) of its
    SubjectPublicKeyInfo; None until a claim in a group with `pin_bootstrap`. `admission` is for one other
    key. The claim that uses it removes it.
    """

    device_id: DeviceId
    group: str
    status: Status
    generation: int
    created_at: datetime
    updated_at: datetime
    enrolled_by: str | None = None
    bootstrap_ids: frozenset[str] = frozenset()
    anchor: Anchor | None = None
    way: Way | None = None
    pending: CertificateRecord | None = None
    active: CertificateRecord | None = None
    superseded: CertificateRecord | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    claims: dict[str, Attribute] = field(default_factory=dict)
    registered: frozenset[str] = frozenset()
    attached: frozenset[str] = frozenset()
    renewal_day: date | None = None
    renewals: int = 0
    activating: frozenset[str] = frozenset()
    imported: bool = False
    pin: str | None = None
    admission: KeyAdmission | None = None
    refused_key: RefusedKey | None = None
    enrolled: tuple[Enrolled, ...] = ()

    def is_admitted(self, key: str, now: datetime) -> bool:
        """Return whether an operator's one-time admission lets this bootstrap key enroll the device now."""
        return self.admission is not None and self.admission.admits(key, now)


def claims_in_force(
    recorded: dict[str, Attribute], active: CertificateRecord | None, pending: CertificateRecord | None
) -> dict[str, Attribute]:
    """Return the claims of a device that rules see. `recorded` are those of its last commit.

    The claims of a pending certificate count from its commit on: a certificate that never logs in must not
    change the rights of the one in use. A device without an active certificate has no rights to protect, and
    its first connection needs policies before its first login. So its pending claims count at once.
    """
    if active is None and pending is not None and pending.claims is not None:
        return pending.claims
    return recorded


def check_not_revoked(device: Device) -> None:
    """Refuse a device that was revoked or deleted.

    Raises DeviceRevoked, CertificateNotCurrent.
    """
    if device.status is Status.REVOKED:
        raise DeviceRevoked
    if device.status is Status.DELETED:
        raise CertificateNotCurrent(log="the device has been deleted")


def check_admissible(device: Device, names: Collection[str]) -> None:
    """Refuse a device that could never enroll in a group; its first enrollment bound it to one group.

    `names` are the group's name and its former ones.

    A deleted device is not refused, because its name is free again as soon as its record is gone.

    Raises DeviceRevoked, GroupMismatch.
    """
    if device.status is Status.DELETED:
        return
    check_not_revoked(device)
    if device.group not in names:
        raise GroupMismatch(log=f"is in {device.group}, asked in {', '.join(names)}")


def check_pin(device: Device, key: str, now: datetime) -> None:
    """Refuse a bootstrap key that is neither the pinned one nor admitted once.

    `key` is the SHA-256 (hex) of its SubjectPublicKeyInfo. A device without a pin is bound to no key yet.

    Raises BootstrapKeyChanged, whose log text has both keys.
    """
    if device.pin in (None, key) or device.is_admitted(key, now):
        return
    raise BootstrapKeyChanged(log=f"{device.device_id} is bound to key {device.pin}, and key {key} asked")


def is_within_grace(superseded: CertificateRecord, grace: timedelta, now: datetime) -> bool:
    """Return whether a superseded certificate may still ask for its successor."""
    return superseded.superseded_at is not None and now - superseded.superseded_at < grace


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
    certificate that was active becomes superseded. The claims become those that the pending certificate was
    asked for with; they stay if there were none. Without a pending one, return the record unchanged.
    """
    pending = device.pending
    if pending is None:
        return device
    moment = whole_seconds(now)
    return replace(
        device,
        pending=None,
        active=replace(
            pending, certificate_id=certificate_id, held_until=None, claims=None, bootstrap_key=None
        ),
        superseded=replace(device.active, superseded_at=moment) if device.active else device.superseded,
        claims=device.claims if pending.claims is None else pending.claims,
        generation=device.generation + 1,
        updated_at=moment,
        enrolled=_enrolled(device, pending, moment),
    )


def _enrolled(device: Device, pending: CertificateRecord, moment: datetime) -> tuple[Enrolled, ...]:
    """Return the last enrollments after the commit of `pending`, which a renewal does not add to."""
    if pending.bootstrap_key is None:
        return device.enrolled
    added = Enrolled(
        at=moment,
        generation=device.generation + 1,
        key=pending.spki[:KEY_DIGITS],
        bootstrap_key=pending.bootstrap_key[:KEY_DIGITS],
        has_replaced=device.active is not None and moment <= device.active.not_after,
    )
    return (*device.enrolled, added)[-KEPT:]
