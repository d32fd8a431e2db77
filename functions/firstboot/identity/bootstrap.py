"""Verify a bootstrap certificate, find its group, and name the device that it speaks for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from firstboot.domain.errors import (
    BootstrapExpired,
    CertificateExpired,
    DeviceIdMismatch,
    DeviceIdRequired,
    EnrollmentClosed,
)
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId, device_id
from firstboot.identity.possession import Presented
from firstboot.pki import chain


@dataclass(frozen=True)
class VerifiedBootstrap:
    """A bootstrap certificate that holds, and its group. `fingerprint` is its SHA-256, hex."""

    leaf: x509.Certificate
    group: Group
    fingerprint: str


def verify_bootstrap(presented: Presented, fleet: Fleet, now: datetime) -> VerifiedBootstrap:
    """Verify a bootstrap certificate, and find the group that its anchor belongs to.

    Raises BootstrapExpired and what chain.verify raises.
    """
    groups = {chain.anchor(pem): group for group in fleet.groups.values() for pem in group.trust}
    try:
        anchor = chain.verify(presented.leaf, list(groups), now, presented.intermediates)
    except CertificateExpired as error:
        raise BootstrapExpired(log=error.log) from error
    return VerifiedBootstrap(presented.leaf, groups[anchor], chain.fingerprint(presented.leaf))


def named(bootstrap: VerifiedBootstrap, said: str | None) -> DeviceId:
    """The device that is enrolling; `said` is what it calls itself.

    Raises DeviceIdInvalid, DeviceIdRequired, DeviceIdMismatch, CertificateMalformed.
    """
    if bootstrap.group.is_shared:
        if said is None:
            raise DeviceIdRequired
        return device_id(said)
    name = device_id(chain.common_name(bootstrap.leaf))
    if said not in (None, name):
        raise DeviceIdMismatch
    return name


def check_open(group: Group, now: datetime) -> None:
    """Refuse whoever comes after the last day of the group's budget.

    Raises EnrollmentClosed.
    """
    if group.budget and now >= group.budget.until:
        raise EnrollmentClosed
