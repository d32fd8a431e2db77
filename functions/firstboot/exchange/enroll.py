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

from dataclasses import replace
from datetime import datetime

from cryptography import x509

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import HOLD, Enrollment
from firstboot.domain.errors import ClaimKeyRefused
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import RESERVED_PREFIX, DeviceId
from firstboot.domain.ports import CertificateStore, Registry
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issued, issue
from firstboot.identity.bootstrap import VerifiedBootstrap, check_open, named, verify_bootstrap
from firstboot.identity.possession import Presented, check_client_id, spend
from firstboot.pki import csr
from firstboot.pki.profile import Issuer, plan


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
    asked = _enrollment(name, bootstrap, request, verified, issuer, whole_seconds(now))
    by_proof = presented.proof is not None
    return issue(asked, verified, issuer, registry, store, bootstrap.group, make_known=by_proof)  # 5


def _enrollment(
    name: DeviceId,
    bootstrap: VerifiedBootstrap,
    request: ExchangeRequest,
    verified: csr.VerifiedCsr,
    issuer: Issuer,
    now: datetime,
) -> Enrollment:
    group = bootstrap.group
    certificate = plan(verified.spki, x509.random_serial_number(), group.certificate, issuer.certificate, now)
    replaces = group.reenroll == "replace"
    return Enrollment(
        device_id=name,
        group=group.name,
        replaces=replaces,
        certificate=replace(certificate, held_until=now + HOLD),
        enrolled_by=bootstrap.fingerprint,
        claims=request.claims or {},
        now=now,
        grace=group.certificate.grace,
        expected=group.is_shared,
        limits=group.budget.limits if group.budget else None,
        per_day=group.reenroll_per_day if replaces else None,
    )
