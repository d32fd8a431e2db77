"""Enrolling: a bootstrap certificate and a CSR become an operational certificate.

1. The bootstrap certificate chains to a group's trust anchor and names the device.
2. The group still takes enrollments.
3. The CSR's key is strong and its owner signed it.
4. Everything decided, the certificate is issued exactly once (issuance.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from firstboot.errors import (
    BootstrapCertificateRequired,
    BootstrapExpired,
    CertificateExpired,
    DeviceIdMismatch,
    EnrollmentClosed,
)
from firstboot.fleet.model import Fleet, Group
from firstboot.issuance import Claimed, Issued, issue
from firstboot.lifecycle import HOLD_SECONDS, Attribute, Enrollment
from firstboot.names import DeviceId, device_id
from firstboot.pki import chain, csr
from firstboot.pki.profile import Issuer, plan
from firstboot.ports import CertificateStore, Limits, Registry


@dataclass(frozen=True)
class ExchangeRequest:
    """What a device sends. `device_id` and `claims` are what it says of itself."""

    csr: csr.UnverifiedCsr
    device_id: str | None = None
    claims: dict[str, Attribute] | None = None


@dataclass(frozen=True)
class VerifiedBootstrap:
    """A bootstrap certificate that holds: whose it is and which group's. `fingerprint` is its
    SHA-256, hex.
    """

    device_id: DeviceId
    group: Group
    fingerprint: str


@dataclass(frozen=True)
class Enrolled:
    """The outcome for a device."""

    device_id: DeviceId
    outcome: Issued | Claimed


def enroll(
    leaf: x509.Certificate,
    request: ExchangeRequest,
    fleet: Fleet,
    issuer: Issuer,
    registry: Registry,
    store: CertificateStore,
    now: datetime,
) -> Enrolled:
    """Certify the key in the request for the device its bootstrap certificate names.

    Raises AuthenticationError, AuthorizationError, RequestError, ConflictError, LimitError and,
    while nothing is recorded, Unavailable.
    """
    bootstrap = verify_bootstrap(leaf, fleet, issuer.certificate, now)  # 1
    if request.device_id not in (None, bootstrap.device_id):
        raise DeviceIdMismatch
    budget = bootstrap.group.budget
    if budget and now.timestamp() >= budget.until:  # 2
        raise EnrollmentClosed
    verified = csr.verify(request.csr)  # 3
    enrollment = _enrollment(bootstrap, request, verified, issuer, int(now.timestamp()))
    limits = Limits(budget.total, budget.per_minute) if budget else None
    outcome = issue(enrollment, verified, limits, issuer, registry, store)  # 4
    return Enrolled(bootstrap.device_id, outcome)


def verify_bootstrap(
    leaf: x509.Certificate, fleet: Fleet, ca: x509.Certificate, now: datetime
) -> VerifiedBootstrap:
    """Verify a per-device bootstrap certificate; its common name is the device's id.

    Raises BootstrapCertificateRequired for one of our own, BootstrapExpired, DeviceIdInvalid and
    what chain.verify raises.
    """
    if chain.issued_by(leaf, ca):
        raise BootstrapCertificateRequired
    groups = {chain.anchor(pem): group for group in fleet.groups.values() for pem in group.trust}
    try:
        anchor = chain.verify(leaf, list(groups), now)
    except CertificateExpired as error:
        raise BootstrapExpired(log=error.log) from error
    return VerifiedBootstrap(
        device_id=device_id(chain.common_name(leaf)),
        group=groups[anchor],
        fingerprint=chain.fingerprint(leaf),
    )


def _enrollment(
    bootstrap: VerifiedBootstrap,
    request: ExchangeRequest,
    verified: csr.VerifiedCsr,
    issuer: Issuer,
    now: int,
) -> Enrollment:
    serial = x509.random_serial_number()
    certificate = plan(verified.spki, serial, bootstrap.group.certificate, issuer.certificate, now)
    return Enrollment(
        device_id=bootstrap.device_id,
        group=bootstrap.group.name,
        replaces=bootstrap.group.reenroll == "replace",
        certificate=replace(certificate, held_until=now + HOLD_SECONDS),
        enrolled_by=bootstrap.fingerprint,
        claims=request.claims or {},
        now=now,
    )
