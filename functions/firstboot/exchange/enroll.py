"""Enroll: an admission and a CSR become an operational certificate.

1. The group allows the way of asking.
2. The CSR's key is strong and its owner signed the CSR. The key is not that of a shared claim certificate.
3. A signed proof is of the kind that the group demands. Its use is recorded.
4. The certificate is issued exactly once (issue.py), if the device's record and the group's budget allow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from firstboot.domain.claim import HOLD, Enrollment
from firstboot.domain.clock import whole_seconds
from firstboot.exchange.errors import ClaimKeyRefused
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issue, Issued
from firstboot.identity.admission import Admission
from firstboot.identity.proof import Proofs, spend
from firstboot.identity.ways import check_way
from firstboot.pki import csr
from firstboot.pki.profile import plan


@dataclass(frozen=True)
class Enroll:
    """The use case that certifies the key of a device admitted to a group."""

    issue: Issue
    proofs: Proofs

    def __call__(self, admission: Admission, request: ExchangeRequest, now: datetime) -> Issued | Claimed:
        """Certify the key in the request for the admitted device.

        Return the issued certificate, or Claimed if AWS failed after the intent was recorded. A repeat of the
        request returns the same certificate. Raises AuthenticationError, AuthorizationError, RequestError,
        ConflictError and LimitError, and Unavailable as long as nothing is recorded.
        """
        check_way(admission.way, admission.group)  # 1
        verified = csr.verify(request.csr)  # 2
        # Every device of a shared group has the claim certificate's key. A certificate for it would let each
        # of them act as this device.
        if admission.group.is_shared and verified.spki == admission.by.spki:
            raise ClaimKeyRefused
        # The admission and the CSR are verified by now, so a caller without a valid bootstrap certificate
        # can't write to the table.
        spend(admission.proof, admission.group, self.proofs, now)  # 3
        asked = self._enrollment(admission, request, verified, now)
        return self.issue(asked, verified, admission.group, make_known=admission.proof is not None)  # 4

    def _enrollment(
        self, admission: Admission, request: ExchangeRequest, verified: csr.VerifiedCsr, now: datetime
    ) -> Enrollment:
        group = admission.group
        ca, moment = self.issue.issuer.certificate, whole_seconds(now)
        certificate = plan(verified.spki, x509.random_serial_number(), group.certificate, ca, moment)
        # A kind of admission without a key pair is known by its identifier.
        key = admission.by.spki or admission.by.identifier
        replaces = group.reenroll == "replace"
        return Enrollment(
            device_id=admission.device_id,
            group=group.name,
            formerly=group.formerly,
            replaces=replaces,
            certificate=replace(
                certificate, held_until=moment + HOLD, claims=request.claims, bootstrap_key=key
            ),
            enrolled_by=admission.by.identifier,
            bootstrap_ids=admission.by.bootstrap_ids,
            anchor=admission.by.anchor,
            now=moment,
            grace=group.certificate.grace,
            way=admission.way,
            # Any device could use a shared claim certificate, so its allow-list is the device records: an
            # operator names each device before it comes.
            expected=group.is_shared,
            limits=group.budget.limits if group.budget else None,
            per_day=group.reenroll_per_day if replaces else None,
            pin=admission.by.spki if group.pins else None,
        )
