"""Enrolling: a bootstrap certificate and a CSR become an operational certificate.

1. The bootstrap certificate chains to a group's trust anchor, and the device has a name: the
   certificate's, or, where many share it, the one that the device says and the group expects. An
   MQTT connection has that name too, a shared certificate's behind a prefix.
2. The group still takes enrollments.
3. The CSR's key is strong and its owner signed it. It is not a shared certificate's own.
4. A signed proof is spent.
5. Everything decided, the certificate is issued exactly once (issuance.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from firstboot.errors import (
    BootstrapExpired,
    CertificateExpired,
    ClaimKeyRefused,
    DeviceIdMismatch,
    DeviceIdRequired,
    EnrollmentClosed,
)
from firstboot.fleet.model import Fleet, Group
from firstboot.issuance import Claimed, ExchangeRequest, Issued, issue
from firstboot.lifecycle import HOLD_SECONDS, Enrollment
from firstboot.names import RESERVED_PREFIX, DeviceId, device_id
from firstboot.pki import chain, csr
from firstboot.pki.profile import Issuer, plan
from firstboot.ports import CertificateStore, Registry
from firstboot.possession import Presented, check_client_id, spend


@dataclass(frozen=True)
class VerifiedBootstrap:
    """A bootstrap certificate that holds, and its group. `fingerprint` is its SHA-256, hex."""

    leaf: x509.Certificate
    group: Group
    fingerprint: str


def enroll(
    presented: Presented,
    request: ExchangeRequest,
    fleet: Fleet,
    issuer: Issuer,
    registry: Registry,
    store: CertificateStore,
    now: datetime,
) -> Issued | Claimed:
    """Certify the key in the request for the device its bootstrap certificate speaks for.

    Raises AuthenticationError, AuthorizationError, RequestError, ConflictError, LimitError and,
    while nothing is recorded, Unavailable.
    """
    bootstrap = verify_bootstrap(presented, fleet, now)  # 1
    name = named(bootstrap, request.device_id)
    check_client_id(presented, f"{RESERVED_PREFIX}{name}" if bootstrap.group.is_shared else name)
    check_open(bootstrap.group, now)  # 2
    verified = csr.verify(request.csr)  # 3
    if bootstrap.group.is_shared and verified.spki == csr.certificate_spki(bootstrap.leaf):
        raise ClaimKeyRefused
    spend(presented, registry)  # 4
    asked = _enrollment(name, bootstrap, request, verified, issuer, int(now.timestamp()))
    by_proof = presented.proof is not None
    return issue(asked, verified, issuer, registry, store, bootstrap.group, make_known=by_proof)  # 5


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
    if group.budget and now.timestamp() >= group.budget.until:
        raise EnrollmentClosed


def _enrollment(
    name: DeviceId,
    bootstrap: VerifiedBootstrap,
    request: ExchangeRequest,
    verified: csr.VerifiedCsr,
    issuer: Issuer,
    now: int,
) -> Enrollment:
    group = bootstrap.group
    certificate = plan(verified.spki, x509.random_serial_number(), group.certificate, issuer.certificate, now)
    replaces = group.reenroll == "replace"
    return Enrollment(
        device_id=name,
        group=group.name,
        replaces=replaces,
        certificate=replace(certificate, held_until=now + HOLD_SECONDS),
        enrolled_by=bootstrap.fingerprint,
        claims=request.claims or {},
        now=now,
        grace=group.certificate.grace_seconds,
        expected=group.is_shared,
        limits=group.budget.limits if group.budget else None,
        per_day=group.reenroll_per_day if replaces else None,
    )
