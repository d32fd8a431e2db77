"""Enroll: an admission and a CSR become an operational certificate.

1. The CSR's key is strong and its owner signed it. It is not the key of a shared bootstrap certificate.
2. A signed proof is spent.
3. Everything decided, the certificate is issued exactly once (issue.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import HOLD, Enrollment
from firstboot.exchange.errors import ClaimKeyRefused
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issue, Issued
from firstboot.identity.admission import Admission
from firstboot.identity.proof import Proofs, spend
from firstboot.pki import csr
from firstboot.pki.profile import plan


@dataclass(frozen=True)
class Enroll:
    """Certify the key of a device that was admitted to a group."""

    issue: Issue
    proofs: Proofs

    def __call__(self, admission: Admission, request: ExchangeRequest, now: datetime) -> Issued | Claimed:
        """Certify the key in the request for the admitted device.

        Raises AuthenticationError, AuthorizationError, RequestError, ConflictError, LimitError and,
        while nothing is recorded, Unavailable.
        """
        verified = csr.verify(request.csr)  # 1
        if admission.group.is_shared and verified.spki == admission.by.spki:
            raise ClaimKeyRefused
        spend(admission.proof, self.proofs)  # 2
        asked = self._enrollment(admission, request, verified, now)
        return self.issue(asked, verified, admission.group, make_known=admission.proof is not None)  # 3

    def _enrollment(
        self, admission: Admission, request: ExchangeRequest, verified: csr.VerifiedCsr, now: datetime
    ) -> Enrollment:
        group = admission.group
        ca, moment = self.issue.issuer.certificate, whole_seconds(now)
        certificate = plan(verified.spki, x509.random_serial_number(), group.certificate, ca, moment)
        replaces = group.reenroll == "replace"
        return Enrollment(
            device_id=admission.device_id,
            group=group.name,
            replaces=replaces,
            certificate=replace(certificate, held_until=moment + HOLD),
            enrolled_by=admission.by.identifier,
            claims=request.claims or {},
            now=moment,
            grace=group.certificate.grace,
            expected=group.is_shared,
            limits=group.budget.limits if group.budget else None,
            per_day=group.reenroll_per_day if replaces else None,
        )
